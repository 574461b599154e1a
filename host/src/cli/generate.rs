//! `rlhf generate`: a model's answers, streamed for one prompt, as JSON Lines for many.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Usage;
use super::train::{device, interrupt_flag};
use crate::config::generation::{Generation, Weights};
use crate::config::{self, Device};
use crate::pipeline::{self, Policy, Source};
use crate::rollout::logprobs::recompute;
use crate::rollout::{Event, FinishReason, Response, Stop, generate_observed};
use crate::tokenizer::Tokenizer;

/// Named as in transformers' generation configuration.
#[derive(clap::Args)]
pub struct Args {
    /// A Hugging Face folder, a GGUF file, a hub name, or builtin:tiny-code (not trained)
    #[arg(long, value_name = "NAME")]
    pub model_name: String,
    /// What the model goes on from
    #[arg(long, value_name = "TEXT", required_unless_present = "prompts")]
    pub prompt: Option<String>,
    /// Prompts: JSON Lines with `prompt` or `messages`, or text with one a line; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompts: Option<PathBuf>,
    /// Prompts are messages to an assistant: put them into the model's chat template
    #[arg(long)]
    pub chat: bool,

    /// Tokens of a response at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the most likely token [default: 0.8]
    #[arg(long, value_name = "T", conflicts_with = "num_beams")]
    pub temperature: Option<f64>,
    /// Only the k most likely tokens; 0 keeps all [default: 50]
    #[arg(long, value_name = "K", conflicts_with = "num_beams")]
    pub top_k: Option<usize>,
    /// Only the most likely tokens whose probabilities sum to p [default: 0.95]
    #[arg(long, value_name = "P", conflicts_with = "num_beams")]
    pub top_p: Option<f64>,
    /// Only tokens at least this fraction as likely as the most likely one [default: 0]
    #[arg(long, value_name = "P", conflicts_with = "num_beams")]
    pub min_p: Option<f64>,
    /// Above 1: tokens that were seen become less likely
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// Responses to each prompt
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub num_return_sequences: usize,
    /// Search the most likely responses with so many beams instead of sampling
    #[arg(long, value_name = "N")]
    pub num_beams: Option<usize>,
    /// A text that ends a response, and is left out of it; repeatable
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Decides what is drawn
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Responses that grow at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub batch_size: usize,
    /// How weights are stored on a CPU while responses grow: less is faster, and a little off
    #[arg(long, value_enum, default_value = "f32", conflicts_with = "num_beams")]
    pub weights: Weights,
    /// Device to use
    #[arg(long, value_parser = device, value_name = "cpu|cuda|metal|auto", default_value = "auto")]
    pub device: Device,
}

impl Args {
    fn generation(&self) -> Result<Generation, config::Error> {
        let default = Generation::default();
        let generation = Generation {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty,
            num_beams: self.num_beams.unwrap_or(1),
            batch_size: self.batch_size,
            weights: self.weights,
            ..default
        };
        // A run's ranges hold here as well.
        let whole = config::Config {
            generation: generation.clone(),
            ..config::Config::default()
        };
        whole.validate()?;
        Ok(generation)
    }
}

/// A prompt as it is given, and what the model sees.
struct Prompt {
    given: Value,
    ids: Vec<u32>,
}

/// Generates and prints.
///
/// # Errors
/// A flag, the prompts or the model are wrong.
pub fn run(args: &Args) -> Result<()> {
    let generation = args.generation()?;
    if args.num_return_sequences == 0 {
        return Err(Usage("`--num-return-sequences` is 0; expected 1 or more".into()).into());
    }
    if generation.num_beams > 1 && args.num_return_sequences > generation.num_beams {
        return Err(Usage(format!(
            "`--num-return-sequences` is {}, but a search with `--num-beams {}` finds no more than {}\nhint: raise --num-beams, or sample without it",
            args.num_return_sequences, generation.num_beams, generation.num_beams
        ))
        .into());
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(Usage("`--stop` is empty; expected a text".into()).into());
    }
    let given = match (&args.prompt, &args.prompts) {
        (Some(text), _) => vec![json!({"prompt": text})],
        (None, Some(file)) => read_prompts(file)?,
        (None, None) => unreachable!("clap requires one of both"),
    };
    let device = pipeline::device(args.device)?;
    let source = Source::of(&args.model_name)?;
    let Policy { model, tokenizer } = Policy::load(&source, args.seed, &device)?;
    let prompts = encode(given, args, &tokenizer)?;
    let context = crate::models::CausalLm::context(&model);
    for (number, prompt) in prompts.iter().enumerate() {
        if prompt.ids.len() >= context {
            return Err(Usage(format!(
                "prompt {} has {} tokens; the model sees {context}, response included\nhint: shorten it",
                number + 1,
                prompt.ids.len()
            ))
            .into());
        }
    }
    let ids: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.ids.clone()).collect();
    let stop = Stop {
        tokens: &tokenizer.specials().eos,
        strings: &args.stop,
        decode: &|ids| tokenizer.decode(ids),
    };
    let interrupt = interrupt_flag()?;
    let mut stream = (args.prompt.is_some() && args.num_return_sequences == 1)
        .then(|| Stream::new(&tokenizer, &args.stop));
    let mut printing = Ok(());
    let mut responses = generate_observed(
        &model,
        &ids,
        args.num_return_sequences,
        &generation,
        &stop,
        args.seed,
        &mut |event| {
            if let (Event::Token { ids, .. }, Some(stream)) = (event, &mut stream)
                && printing.is_ok()
            {
                printing = stream.show(ids, false);
            }
            printing.is_ok() && !interrupt.load(std::sync::atomic::Ordering::SeqCst)
        },
    )
    .context("generating")?;
    printing?;
    match stream {
        Some(mut stream) => {
            if let Some(response) = responses.first() {
                stream.show(&response.ids, true)?;
            }
            writeln!(io::stdout())?;
        }
        None => {
            if generation.weights != Weights::F32 {
                recompute(&model, &ids, &mut responses).context("log-probabilities")?;
            }
            let mut out = io::stdout().lock();
            for response in &responses {
                let line = describe(response, &prompts, &tokenizer, &args.stop);
                writeln!(out, "{line}")?;
            }
        }
    }
    if interrupt.load(std::sync::atomic::Ordering::SeqCst) {
        eprintln!("interrupted: {} responses are done", responses.len());
        std::process::exit(130);
    }
    Ok(())
}

/// The row's own fields, and what the model made of it.
fn describe(
    response: &Response,
    prompts: &[Prompt],
    tokenizer: &Tokenizer,
    stops: &[String],
) -> Value {
    let mut line = prompts[response.prompt].given.clone();
    let text = tokenizer.decode(&response.ids);
    let finish = match response.finish {
        FinishReason::Eos => "eos",
        FinishReason::StopString(_) => "stop",
        FinishReason::Length => "length",
    };
    line["sample"] = response.sample.into();
    line["response"] = before_stop(&text, stops).into();
    line["finish"] = finish.into();
    line["tokens"] = response.ids.len().into();
    line["logprob"] = response
        .logprobs
        .iter()
        .map(|x| f64::from(*x))
        .sum::<f64>()
        .into();
    line
}

/// The text up to the first stop text in it.
fn before_stop<'a>(text: &'a str, stops: &[String]) -> &'a str {
    let first = stops
        .iter()
        .filter_map(|stop| text.find(stop.as_str()))
        .min();
    &text[..first.unwrap_or(text.len())]
}

/// Prints a response while it grows: what is certain of it.
struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    stops: &'a [String],
    /// Bytes that are printed.
    printed: usize,
}

impl<'a> Stream<'a> {
    fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Self {
            tokenizer,
            stops,
            printed: 0,
        }
    }

    fn show(&mut self, ids: &[u32], whole: bool) -> io::Result<()> {
        let text = self.tokenizer.decode(ids);
        let text = before_stop(&text, self.stops);
        let certain = if whole {
            text.len()
        } else {
            certain(text, self.stops)
        };
        if certain > self.printed {
            let mut out = io::stdout().lock();
            out.write_all(&text.as_bytes()[self.printed..certain])?;
            out.flush()?;
            self.printed = certain;
        }
        Ok(())
    }
}

/// Bytes of a text that later tokens can't change: a symbol may lack bytes, a stop text its end.
fn certain(text: &str, stops: &[String]) -> usize {
    let text = text.trim_end_matches('\u{fffd}');
    let begun = |stop: &String| {
        let lengths = stop.char_indices().map(|(at, _)| at).skip(1);
        lengths
            .filter(|at| text.ends_with(&stop[..*at]))
            .max()
            .unwrap_or(0)
    };
    text.len() - stops.iter().map(begun).max().unwrap_or(0)
}

fn read_prompts(file: &Path) -> Result<Vec<Value>> {
    let wrong = |message: String| Usage(format!("prompts `{}`{message}", file.display()));
    let ending = file.extension().and_then(|ending| ending.to_str());
    if let Some(ending @ ("csv" | "tsv" | "parquet")) = ending {
        return Err(wrong(format!(
            ": .{ending} files are not read here\nhint: JSON Lines with `prompt` or `messages`, or text with a prompt a line"
        ))
        .into());
    }
    let from_stdin = file.as_os_str() == "-";
    let text = match from_stdin {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(file),
    };
    let text = text.map_err(|e| wrong(format!(": {e}")))?;
    let is_json = match from_stdin {
        true => text.trim_start().starts_with('{'),
        false => matches!(ending, Some("jsonl" | "json")),
    };
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if !is_json {
            rows.push(json!({"prompt": line}));
            continue;
        }
        let at = |message: &str| {
            wrong(format!(
                ", line {}: {message}\nhint: a line is {{\"prompt\": \"…\"}} or {{\"messages\": [{{\"role\": \"user\", \"content\": \"…\"}}]}}",
                number + 1
            ))
        };
        let row: Value = serde_json::from_str(line).map_err(|e| at(&format!("not JSON: {e}")))?;
        if !(row["prompt"].is_string() || row["prompt"].is_array() || row["messages"].is_array()) {
            return Err(at("expected a text in `prompt`, or a list in `messages`").into());
        }
        rows.push(row);
    }
    match rows.is_empty() {
        true => Err(wrong(" has no prompts\nhint: write one a line".into()).into()),
        false => Ok(rows),
    }
}

fn encode(given: Vec<Value>, args: &Args, tokenizer: &Tokenizer) -> Result<Vec<Prompt>> {
    let mut prompts = Vec::with_capacity(given.len());
    for (number, row) in given.into_iter().enumerate() {
        // A list in `prompt` is a conversation, as preference data have it.
        let messages = [&row["messages"], &row["prompt"]]
            .into_iter()
            .find(|m| m.is_array());
        let text = match (messages, row["prompt"].as_str()) {
            (Some(messages), _) => chat(tokenizer, messages)?,
            (None, Some(text)) if args.chat => {
                chat(tokenizer, &json!([{"role": "user", "content": text}]))?
            }
            (None, text) => text.unwrap_or_default().to_owned(),
        };
        let ids = tokenizer.encode(&text).map_err(pipeline::Error::from)?;
        if ids.is_empty() {
            return Err(Usage(format!(
                "prompt {} is empty\nhint: a model needs a token to go on from",
                number + 1
            ))
            .into());
        }
        prompts.push(Prompt { given: row, ids });
    }
    Ok(prompts)
}

fn chat(tokenizer: &Tokenizer, messages: &Value) -> Result<String, pipeline::Error> {
    Ok(tokenizer.chat(messages, &Value::Null, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a half symbol or a half stop text that is printed, and text that is held back
    // for nothing.
    #[test]
    fn only_what_is_certain_is_shown() {
        let check = |text: &str, stops: &[&str], expected: &str| {
            let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(&text[..certain(text, &stops)], expected);
        };
        check("abc", &[], "abc");
        check("ab\u{fffd}", &[], "ab");
        check("abc", &["cd"], "ab");
        check("abc", &["xyz", "bcd", "c\n"], "a");
        check("abé", &["éé"], "ab");
        check("abc", &["abc"], "abc");
        assert_eq!(before_stop("one\ntwo;", &["\n".into(), ";".into()]), "one");
    }
}
