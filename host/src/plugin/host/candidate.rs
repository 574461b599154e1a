//! `rlhf:plugin/candidate`: a candidate's functions, as its judge sees them.

use crate::plugin::bindings::v0_1::{candidate, values};
use crate::plugin::instance::State;
use crate::plugin::value::Value;

/// A program whose functions a judge calls. It lives in an instance of its own.
pub trait Candidate: Send {
    /// The function's result, or what it raised; both are values.
    ///
    /// # Errors
    /// The exception as a value: raised by the program, or what ended it.
    fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Value>;
}

impl candidate::Host for State {
    fn call(
        &mut self,
        function: String,
        arguments: Vec<values::Value>,
    ) -> wasmtime::Result<Result<values::Value, values::Value>> {
        // Every runner that can judge imports this; only judges have a candidate.
        let Some(mut program) = self.candidate.take() else {
            let error = Value::exception("RuntimeError", "there is no candidate: not a judge");
            return Ok(Err(error.into_arena()));
        };
        let result = self.in_host(|_| {
            let arguments: Result<Vec<Value>, String> =
                arguments.into_iter().map(Value::from_arena).collect();
            match arguments {
                Ok(arguments) => program.call(&function, arguments),
                Err(problem) => Err(Value::exception("ValueError", &problem)),
            }
        });
        self.candidate = Some(program);
        Ok(result.map(Value::into_arena).map_err(Value::into_arena))
    }
}
