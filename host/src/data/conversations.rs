//! Conversations in data files: put into the chat template of the model that is trained, as TRL's
//! `apply_chat_template` does.

use serde_json::Value;

use crate::plugin::data_adapter::Content;
use crate::tokenizer::Tokenizer;

/// What adapters call the list of fields that hold a conversation; see `rlhf_sdk::records`.
const MARK: &str = "rlhf:conversation";

/// Puts a row's conversations into words. `chat` is only asked where a row has one; without a
/// tokenizer, or where it has no template, a single message stands for its text.
///
/// # Errors
/// The field at fault and what is wrong with it.
pub(super) fn render(
    content: Content,
    extra: &mut Vec<(String, String)>,
    chat: impl FnOnce() -> Result<Option<Tokenizer>, String>,
) -> Result<Content, (&'static str, String)> {
    let Some(at) = extra.iter().position(|(key, _)| key == MARK) else {
        return Ok(content);
    };
    let (_, fields) = extra.remove(at);
    let tokenizer = chat().map_err(|message| ("", message))?;
    let words = Words {
        fields: fields.split(',').collect(),
        tokenizer: tokenizer.filter(Tokenizer::has_chat_template),
    };
    Ok(match content {
        Content::Demonstration { prompt, response } => {
            let (prompt, [response]) = words.of(prompt, [("response", response)])?;
            Content::Demonstration { prompt, response }
        }
        Content::Comparison {
            prompt,
            chosen,
            rejected,
        } => {
            let responses = [("chosen", chosen), ("rejected", rejected)];
            let (prompt, [chosen, rejected]) = words.of(prompt, responses)?;
            Content::Comparison {
                prompt,
                chosen,
                rejected,
            }
        }
        Content::Rating {
            prompt,
            response,
            rating,
            logits,
        } => {
            let (prompt, [response]) = words.of(prompt, [("response", response)])?;
            Content::Rating {
                prompt,
                response,
                rating,
                logits,
            }
        }
        Content::Evaluation {
            prompt,
            references,
            tests,
        } => {
            let (prompt, []) = words.of(prompt, [])?;
            Content::Evaluation {
                prompt,
                references,
                tests,
            }
        }
        prediction @ Content::Prediction(_) => prediction,
    })
}

struct Words<'a> {
    fields: Vec<&'a str>,
    tokenizer: Option<Tokenizer>,
}

impl Words<'_> {
    fn of<const N: usize>(
        &self,
        prompt: String,
        responses: [(&'static str, String); N],
    ) -> Result<(String, [String; N]), (&'static str, String)> {
        let Some(tokenizer) = &self.tokenizer else {
            let prompt = self.single("prompt", prompt)?;
            let mut texts = [const { String::new() }; N];
            for (text, (field, response)) in texts.iter_mut().zip(responses) {
                *text = self.single(field, response)?;
            }
            return Ok((prompt, texts));
        };
        let asked = self.messages("prompt", "user", prompt)?;
        let chat = |field, messages: &[Value], open| {
            let rendered = tokenizer.chat(&messages.into(), &Value::Null, open);
            rendered.map_err(|error| (field, error.to_string()))
        };
        let prompt = chat("prompt", &asked, true)?;
        let mut texts = [const { String::new() }; N];
        for (text, (field, response)) in texts.iter_mut().zip(responses) {
            let mut whole = asked.clone();
            whole.extend(self.messages(field, "assistant", response)?);
            let rendered = chat(field, &whole, false)?;
            let response = rendered.strip_prefix(&prompt).ok_or_else(|| {
                let message = "the chat template writes the prompt otherwise in front of an answer than where an answer is asked for\nhint: write prompts and responses as texts";
                (field, message.to_owned())
            })?;
            *text = without_end(response, tokenizer).to_owned();
        }
        Ok((prompt, texts))
    }

    fn messages(
        &self,
        field: &'static str,
        role: &str,
        text: String,
    ) -> Result<Vec<Value>, (&'static str, String)> {
        if !self.fields.contains(&field) {
            return Ok(vec![serde_json::json!({"role": role, "content": text})]);
        }
        serde_json::from_str(&text).map_err(|error| {
            (
                field,
                format!("the adapter gave no list of messages: {error}"),
            )
        })
    }

    /// A text as it is, or that of the only message.
    fn single(&self, field: &'static str, text: String) -> Result<String, (&'static str, String)> {
        if !self.fields.contains(&field) {
            return Ok(text);
        }
        let messages = self.messages(field, "", text)?;
        match messages.as_slice() {
            [message] => Ok(message["content"].as_str().unwrap_or_default().to_owned()),
            several => Err((
                field,
                format!(
                    "found a conversation of {} messages, and there is no chat template to put it into\nhint: train a chat model, or put a `chat_template.jinja` into the model's folder",
                    several.len()
                ),
            )),
        }
    }
}

/// A response without the token that ends it, which training appends to every response.
fn without_end<'a>(response: &'a str, tokenizer: &Tokenizer) -> &'a str {
    let trimmed = response.trim_end();
    let ends = tokenizer.specials().eos.iter();
    let mut ends = ends.map(|id| tokenizer.token_text(*id));
    let cut = ends.find_map(|end| {
        trimmed
            .strip_suffix(end.as_str())
            .filter(|_| !end.is_empty())
    });
    cut.unwrap_or(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat_model() -> Tokenizer {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/models/tiny-llama"
        );
        Tokenizer::from_folder(folder.as_ref()).expect("the golden model has one")
    }

    fn comparison(prompt: &str) -> (Content, Vec<(String, String)>) {
        let content = Content::Comparison {
            prompt: prompt.into(),
            chosen: r#"[{"role": "assistant", "content": "a + b"}]"#.into(),
            rejected: "a - b".into(),
        };
        let mark = (MARK.to_owned(), "prompt,chosen".to_owned());
        (content, vec![("id".into(), "7".into()), mark])
    }

    /// Would catch a chat model that is trained on something else than it will see, and an end
    /// token that is trained on twice.
    #[test]
    fn conversations_meet_the_template() {
        let (content, mut extra) = comparison(r#"[{"role": "user", "content": "Add"}]"#);
        let found = render(content, &mut extra, || Ok(Some(chat_model())));
        let expected = Content::Comparison {
            prompt: "<|im_start|>user\nAdd<|im_end|>\n<|im_start|>assistant\n".into(),
            chosen: "a + b".into(),
            rejected: "a - b".into(),
        };
        assert_eq!(found, Ok(expected));
        assert_eq!(extra, [("id".to_owned(), "7".to_owned())]);
    }

    /// Would catch a conversation of which all but one turn is dropped, and a model that is loaded
    /// for nothing.
    #[test]
    fn without_a_template() {
        let (content, mut extra) = comparison(r#"[{"role": "user", "content": "Add"}]"#);
        let expected = Content::Comparison {
            prompt: "Add".into(),
            chosen: "a + b".into(),
            rejected: "a - b".into(),
        };
        assert_eq!(render(content, &mut extra, || Ok(None)), Ok(expected));
        let two = r#"[{"role": "system", "content": "s"}, {"role": "user", "content": "Add"}]"#;
        let (content, mut extra) = comparison(two);
        let (field, message) = render(content, &mut extra, || Ok(None)).expect_err("two messages");
        assert_eq!(field, "prompt");
        assert!(
            message.starts_with("found a conversation of 2 messages"),
            "{message}"
        );
        let plain = Content::Demonstration {
            prompt: "p".into(),
            response: "r".into(),
        };
        let unused = || panic!("nothing to put into a template");
        assert_eq!(render(plain.clone(), &mut Vec::new(), unused), Ok(plain));
    }
}
