//! Conversations in the place of texts, as TRL's data sets have them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::records::Field;

/// Key in [`Row::extra`](crate::Row::extra) that names the fields, with commas between them, which
/// hold a conversation: a JSON list of messages with `role` and `content`, which the host puts into
/// the chat template of the model that is trained.
pub const CONVERSATION: &str = "rlhf:conversation";

/// Whether a value is a list of messages, as against any other list.
pub fn is_conversation(value: &Value) -> bool {
    let is_message = |message: &Value| {
        message.get("role").is_some_and(Value::is_string) && message.get("content").is_some()
    };
    let messages = value.as_array();
    messages.is_some_and(|all| !all.is_empty() && all.iter().all(is_message))
}

/// The messages of a field, checked: each has a text, and the last is of the role that the field
/// is about.
///
/// # Errors
/// What was expected and found.
pub fn conversation(field: Field, value: Value) -> Result<Vec<Value>, String> {
    let messages = match value {
        Value::Array(messages) if is_conversation(&Value::Array(messages.clone())) => messages,
        _ => return Err("expected a list of messages with `role` and `content`".into()),
    };
    for message in &messages {
        match &message["content"] {
            Value::String(_) => {}
            Value::Null => return Err("expected a message's text, found null".into()),
            Value::Array(items) if items.len() == 1 => {
                return Err("expected a message's text, found a list of 1 item".into());
            }
            Value::Array(items) => {
                let count = items.len();
                return Err(format!(
                    "expected a message's text, found a list of {count} items"
                ));
            }
            other => return Err(format!("expected a message's text, found {other}")),
        }
    }
    let last = &messages.last().expect("a conversation has a message")["role"];
    let of_assistant = last == "assistant";
    match field {
        Field::Prompt if of_assistant => Err(format!(
            "expected a last message of the user, found one of {last}"
        )),
        Field::Prompt => Ok(messages),
        _ if of_assistant => Ok(messages),
        _ => Err(format!(
            "expected a last message of the assistant, found one of {last}"
        )),
    }
}

/// A prompt drawn out of what both responses begin with.
pub(crate) enum Draw {
    /// Prompt, chosen, rejected.
    Texts([String; 3]),
    Messages(BTreeMap<Field, Vec<Value>>),
}

fn nothing_in_common() -> String {
    "expected `chosen` and `rejected` to begin with the same prompt, found nothing in common\n\
     hint: give the prompt a column of its own, `prompt`"
        .to_owned()
}

/// As TRL's `extract_prompt`: the space in front of the first difference belongs to the responses.
pub(crate) fn draw_text(chosen: &str, rejected: &str) -> Result<Draw, String> {
    let same = chosen
        .chars()
        .zip(rejected.chars())
        .take_while(|(a, b)| a == b);
    let mut end: usize = same.map(|(character, _)| character.len_utf8()).sum();
    if chosen[..end].ends_with(' ') {
        end -= 1;
    }
    if chosen[..end].trim().is_empty() {
        return Err(nothing_in_common());
    }
    let texts = [&chosen[..end], &chosen[end..], &rejected[end..]];
    Ok(Draw::Texts(texts.map(str::to_owned)))
}

/// The same of conversations, by whole messages.
pub(crate) fn draw_messages(said: &BTreeMap<Field, Vec<Value>>) -> Result<Draw, String> {
    let (Some(chosen), Some(rejected)) = (said.get(&Field::Chosen), said.get(&Field::Rejected))
    else {
        return Err("expected both responses as texts, or both as conversations".into());
    };
    let same = chosen.iter().zip(rejected).take_while(|(a, b)| a == b);
    // Two equal conversations differ in nothing: their last message is the response all the same.
    let end = same.count().min(chosen.len() - 1).min(rejected.len() - 1);
    if end == 0 {
        return Err(nothing_in_common());
    }
    Ok(Draw::Messages(BTreeMap::from([
        (Field::Prompt, chosen[..end].to_vec()),
        (Field::Chosen, chosen[end..].to_vec()),
        (Field::Rejected, rejected[end..].to_vec()),
    ])))
}

/// Makes prompt and response of `messages`: the last of them is the response.
pub(crate) fn split(said: &mut BTreeMap<Field, Vec<Value>>) -> Result<(), (Field, String)> {
    let Some(mut messages) = said.remove(&Field::Messages) else {
        return Ok(());
    };
    let response = messages.pop().into_iter().collect();
    if messages.is_empty() {
        let text = "expected a message before the answer, found none";
        return Err((Field::Messages, text.to_owned()));
    }
    said.insert(Field::Prompt, messages);
    said.insert(Field::Response, response);
    Ok(())
}

/// The text of the last message.
pub(crate) fn last_content(messages: &[Value]) -> String {
    let last = messages
        .last()
        .and_then(|message| message["content"].as_str());
    last.unwrap_or_default().to_owned()
}
