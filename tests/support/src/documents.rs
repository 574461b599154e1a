//! The commands in documents.

/// The commands of a document that call `rlhf`, each with its line: those in `sh` blocks, but for
/// blocks below the comment `<!-- these commands are run by … -->`.
pub fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut inside, mut elsewhere) = (false, false);
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("<!-- these commands are run by ") {
            elsewhere = true;
        } else if line.trim_start().starts_with("```") {
            inside = line.trim() == "```sh" && !inside;
            // The comment holds for one block.
            elsewhere &= inside;
        } else if inside && !elsewhere {
            let (start, mut command) = open.take().unwrap_or((at + 1, String::new()));
            let line = line.split("  #").next().unwrap_or_default().trim();
            match line.strip_suffix('\\') {
                Some(line) => {
                    command.push_str(line);
                    open = Some((start, command));
                }
                None => {
                    command.push_str(line);
                    if command.starts_with("rlhf ") {
                        found.push((start, command));
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a reader of documents that sees nothing, or half of a command.
    #[test]
    fn commands_are_found() {
        let text = "```sh\nrlhf a \\\n  --b 1   # why\ncargo x\nrlhf c\n```\n\n<!-- these commands are run by x -->\n```sh\nrlhf d\n```\n```sh\nrlhf e\n```\n```toml\nrlhf f\n```\n";
        let found = commands(text);
        let expected = [(2, "rlhf a --b 1"), (5, "rlhf c"), (13, "rlhf e")];
        let expected = expected.map(|(line, command)| (line, command.to_owned()));
        assert_eq!(found, expected);
    }
}
