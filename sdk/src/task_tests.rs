//! Tests as data sets of programming tasks write them, into the texts that a
//! code runner judges.
//!
//! Two forms of text come out: test code, and a case of input and output as
//! `{"input": "…", "output": "…"}`, whose output the host compares.

use serde_json::{Map, Value, json};

/// The texts of a value that holds tests: test code or a list of it, cases of
/// input and output (`[{"input": …, "output": …}]`), or such cases by column
/// (`{"inputs": […], "outputs": […]}`, as APPS and CodeContests have them).
/// Cases may be written out as JSON in a text. Inputs and outputs are texts or
/// lists of lines.
///
/// # Errors
/// What was expected and found: another type, lists of different lengths,
/// cases that call a function (`fn_name`, `testtype`).
pub fn tests_of(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => match written_out(&text) {
            Some(cases) => tests_of(cases),
            None => Ok(vec![text]),
        },
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                let test = match item {
                    Value::String(text) => Ok(text),
                    Value::Object(object) => case(&object),
                    other => Err(format!(
                        "expected text or an object, found {}",
                        type_of(&other)
                    )),
                };
                test.map_err(|message| format!("item {}: {message}", index + 1))
            })
            .collect(),
        Value::Object(object) => match columns(&object) {
            Some((inputs, outputs)) => by_column(&object, inputs, outputs),
            None => Ok(vec![case(&object)?]),
        },
        other => Err(format!(
            "expected text or a list of texts, found {}",
            type_of(&other)
        )),
    }
}

/// A HumanEval test calls the function it is about: its `check` has to be
/// called with the entry point. MBPP's assertions need the set-up before them.
pub(crate) fn completed(test: String, entry_point: Option<&str>, set_up: &[String]) -> String {
    let mut test = test;
    if let Some(entry_point) = entry_point.filter(|_| test.contains("def check(")) {
        test.push_str(&format!("\n\ncheck({entry_point})\n"));
    }
    let set_up: Vec<&str> = set_up
        .iter()
        .map(|text| text.trim_end())
        .filter(|text| !text.is_empty())
        .collect();
    if set_up.is_empty() {
        test
    } else {
        format!("{}\n{test}", set_up.join("\n"))
    }
}

/// Cases that stand in a text as JSON. Any other text is test code, also one
/// that happens to be JSON, like `[1, 2]`.
fn written_out(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let is_case = |value: &Value| value.get("output").is_some();
    match &value {
        Value::Object(object) if columns(object).is_some() => Some(value),
        Value::Array(items) if !items.is_empty() && items.iter().all(is_case) => Some(value),
        _ => None,
    }
}

/// Inputs and outputs that are lists, under either name.
fn columns(object: &Map<String, Value>) -> Option<(&[Value], &[Value])> {
    [("inputs", "outputs"), ("input", "output")]
        .into_iter()
        .find_map(|(inputs, outputs)| {
            let list = |key: &str| object.get(key)?.as_array().map(Vec::as_slice);
            Some((list(inputs)?, list(outputs)?))
        })
}

fn by_column(
    object: &Map<String, Value>,
    inputs: &[Value],
    outputs: &[Value],
) -> Result<Vec<String>, String> {
    if object.get("fn_name").is_some_and(|name| !name.is_null()) {
        return Err(calls());
    }
    if inputs.len() != outputs.len() {
        return Err(format!(
            "expected as many outputs as inputs, found {} and {}",
            outputs.len(),
            inputs.len()
        ));
    }
    let cases = inputs.iter().zip(outputs).enumerate();
    cases
        .map(|(index, (input, output))| {
            test(Some(input), output).map_err(|message| format!("case {}: {message}", index + 1))
        })
        .collect()
}

fn case(object: &Map<String, Value>) -> Result<String, String> {
    if object
        .get("testtype")
        .is_some_and(|kind| kind == "functional")
    {
        return Err(calls());
    }
    let output = object.get("output").ok_or(
        "expected text, or an object with `input` and `output`, found one without `output`",
    )?;
    test(object.get("input"), output)
}

fn test(input: Option<&Value>, output: &Value) -> Result<String, String> {
    let input = input.map_or(Ok(String::new()), |input| lines("input", input))?;
    let output = lines("output", output)?;
    Ok(json!({ "input": input, "output": output }).to_string())
}

/// Text, or a list of its lines.
fn lines(name: &str, value: &Value) -> Result<String, String> {
    let unfit = |found: &Value| {
        format!(
            "`{name}`: expected text or a list of lines, found {}",
            type_of(found)
        )
    };
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(items) => {
            let lines: Result<Vec<&str>, String> = items
                .iter()
                .map(|item| item.as_str().ok_or_else(|| unfit(item)))
                .collect();
            Ok(lines?.join("\n"))
        }
        other => Err(unfit(other)),
    }
}

fn calls() -> String {
    "expected cases of input and output, found cases that call a function\n\
     hint: write them as test code, `assert f(1) == 2`"
        .to_owned()
}

fn type_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) if items.len() == 1 => "a list of 1 item".to_owned(),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, expected: Result<&[&str], &str>) {
        let found = tests_of(value);
        let expected = expected
            .map(|tests| tests.iter().map(|test| (*test).to_owned()).collect())
            .map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    // Catches test code taken for cases, and cases for test code.
    #[test]
    fn tests_are_code_or_cases() {
        let one: &[&str] = &[r#"{"input":"1\n2","output":"3"}"#];
        check(json!("assert f(1) == 2"), Ok(&["assert f(1) == 2"]));
        check(json!(["a", "b"]), Ok(&["a", "b"]));
        check(json!([]), Ok(&[]));
        check(json!("[1, 2]"), Ok(&["[1, 2]"]));
        check(json!([{"input": "1\n2", "output": "3"}]), Ok(one));
        check(
            json!([{"input": ["1", "2"], "output": ["3"], "testtype": "stdin"}]),
            Ok(one),
        );
        check(json!({"inputs": ["1\n2"], "outputs": ["3"]}), Ok(one));
        check(
            json!({"inputs": ["1\n2"], "outputs": ["3"], "fn_name": null}),
            Ok(one),
        );
        check(json!({"input": ["1\n2"], "output": ["3"]}), Ok(one));
        check(
            json!("{\"inputs\": [\"1\\n2\"], \"outputs\": [[\"3\"]]}"),
            Ok(one),
        );
        check(
            json!("[{\"input\": \"1\\n2\", \"output\": \"3\"}]"),
            Ok(one),
        );
        check(
            json!({"output": "3"}),
            Ok(&[r#"{"input":"","output":"3"}"#]),
        );
        // One case as text is a test already.
        check(json!(r#"{"output": "3"}"#), Ok(&[r#"{"output": "3"}"#]));
    }

    #[test]
    fn what_is_no_test_is_named() {
        check(
            json!(1),
            Err("expected text or a list of texts, found the number 1"),
        );
        check(
            json!(["a", 1]),
            Err("item 2: expected text or an object, found the number 1"),
        );
        check(
            json!(["a", {}]),
            Err(
                "item 2: expected text, or an object with `input` and `output`, found one without `output`",
            ),
        );
        check(
            json!({"inputs": ["1", "2"], "outputs": ["3"]}),
            Err("expected as many outputs as inputs, found 1 and 2"),
        );
        check(
            json!({"inputs": [1], "outputs": ["3"]}),
            Err("case 1: `input`: expected text or a list of lines, found the number 1"),
        );
        check(
            json!({"inputs": [[1]], "outputs": [3], "fn_name": "f"}),
            Err(
                "expected cases of input and output, found cases that call a function\n\
                 hint: write them as test code, `assert f(1) == 2`",
            ),
        );
    }

    #[test]
    fn tests_are_completed() {
        let check = |test: &str, entry: Option<&str>, set_up: &[&str], expected: &str| {
            let set_up: Vec<String> = set_up.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(completed(test.to_owned(), entry, &set_up), expected);
        };
        check(
            "def check(candidate):\n    assert candidate(1)\n",
            Some("f"),
            &[],
            "def check(candidate):\n    assert candidate(1)\n\n\ncheck(f)\n",
        );
        check("assert f(1)", Some("f"), &[], "assert f(1)");
        check("assert f(1)", None, &[""], "assert f(1)");
        check(
            "assert f(1)",
            None,
            &["import a", "b = 1\n"],
            "import a\nb = 1\nassert f(1)",
        );
    }
}
