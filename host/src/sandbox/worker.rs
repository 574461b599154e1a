//! The worker's side: a process of the same binary that runs programs until its run is gone.

use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::mpsc;

use super::judge::{Case, judge};
use super::wire::{self, Hello, Ready, Reply, Request};
use super::{Error, confinement};
use crate::plugin::code_runner::Outcome;
use crate::plugin::host::sandbox::Refusal;
use crate::plugin::{CodeRunner, Component, Runtime, Services};

/// Serves requests from `input` until it ends.
///
/// # Errors
/// The run that started it speaks another version, or a runner can't be loaded.
pub fn serve(input: impl Read + Send + 'static, output: impl Write) -> Result<(), Error> {
    let mut input = BufReader::new(input);
    let mut output = BufWriter::new(output);
    let hello: Hello = wire::receive(&mut input).map_err(Error::Pipe)?;
    let runtime = Runtime::of_worker();
    // The last files that this process opens; what follows runs code that others wrote.
    let components: Vec<Component> = hello
        .runners
        .iter()
        .map(|runner| {
            let stack_bytes = runner.limits.stack_bytes_max;
            Component::handed_over(&runtime, &runner.component, stack_bytes)
        })
        .collect::<Result<_, _>>()?;
    let confinement = confinement::confine();
    let mut runners = Vec::with_capacity(components.len());
    for (component, runner) in components.into_iter().zip(&hello.runners) {
        let spec = runner.spec();
        let runner = CodeRunner::of(component, &spec, &Services::default())?;
        runners.push(runner.prepared());
    }
    wire::send(&mut output, &Ready { confinement }).map_err(Error::Pipe)?;
    work(&runners, requests(input), &mut output)
}

/// Requests as they come. Where the run goes away, so does this process, whatever it is doing.
fn requests(mut input: impl Read + Send + 'static) -> mpsc::Receiver<Request> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(request) = wire::receive(&mut input) {
            if send.send(request).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    receive
}

fn work(
    runners: &[CodeRunner],
    requests: mpsc::Receiver<Request>,
    output: &mut impl Write,
) -> Result<(), Error> {
    loop {
        // Before the next program is there: its instance is ready then.
        for runner in runners {
            if let Err(failure) = runner.prepare() {
                tracing::debug!("no instance ahead of need: {failure}");
            }
        }
        let Ok(request) = requests.recv() else {
            return Ok(());
        };
        let reply = answer(runners, &request);
        wire::send(output, &reply).map_err(Error::Pipe)?;
    }
}

fn answer(runners: &[CodeRunner], request: &Request) -> Reply {
    match request {
        Request::Check { language, source } => {
            Reply::Checked(runner_for(runners, language).and_then(|runner| {
                runner.check(language, source).map_err(|failure| {
                    let Outcome { kind, detail, .. } = Outcome::of(&failure);
                    Refusal {
                        code: kind,
                        message: detail,
                    }
                })
            }))
        }
        Request::Execute {
            language,
            source,
            stdin,
        } => Reply::Executed(
            runner_for(runners, language).map(|runner| runner.execute(language, source, stdin)),
        ),
        Request::Judge {
            language,
            prompt,
            candidate,
            tests,
            policy,
        } => Reply::Judged(runner_for(runners, language).and_then(|runner| {
            let case = Case {
                language,
                prompt,
                candidate,
            };
            judge(runner, &case, tests, *policy)
        })),
    }
}

fn runner_for<'a>(runners: &'a [CodeRunner], language: &str) -> Result<&'a CodeRunner, Refusal> {
    runners
        .iter()
        .find(|runner| runner.runs(language))
        .ok_or_else(|| {
            let languages = runners
                .iter()
                .flat_map(|runner| &runner.descriptor().languages);
            super::unsupported(language, languages)
        })
}
