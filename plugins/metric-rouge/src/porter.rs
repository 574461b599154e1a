//! Porter's stemmer as nltk 3.10.4 has it (`PorterStemmer()`, mode `NLTK_EXTENSIONS`).
//!
//! Porter 1980, "An algorithm for suffix stripping",
//! <https://tartarus.org/martin/PorterStemmer/def.txt>, with nltk's additions,
//! which are marked below.

/// Words that no rule gets right (nltk).
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// The stem of a word of ASCII lower-case letters and digits.
#[must_use]
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    let mut word = word.to_owned();
    if word.len() > 2 {
        step_1a(&mut word);
        step_1b(&mut word);
        step_1c(&mut word);
        step_2(&mut word);
        step_3(&mut word);
        step_4(&mut word);
        step_5a(&mut word);
        step_5b(&mut word);
    }
    word
}

/// Whether each letter is a consonant: no vowel, and no `y` behind a consonant.
fn consonants(word: &str) -> impl Iterator<Item = bool> {
    let mut before = false;
    word.bytes().map(move |letter| {
        before = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !before,
            _ => true,
        };
        before
    })
}

/// `m`: how often a consonant follows a vowel.
fn measure(stem: &str) -> usize {
    let mut before = true;
    let follows = |consonant: bool| {
        let follows = consonant && !before;
        before = consonant;
        follows
    };
    consonants(stem)
        .map(follows)
        .filter(|&follows| follows)
        .count()
}

/// `*v*`
fn has_vowel(stem: &str) -> bool {
    consonants(stem).any(|consonant| !consonant)
}

fn ends_in_consonant(word: &str) -> bool {
    consonants(word).last() == Some(true)
}

/// `*d`
fn ends_in_double_consonant(word: &str) -> bool {
    matches!(word.as_bytes(), [.., a, b] if a == b) && ends_in_consonant(word)
}

/// `*o`: consonant, vowel, consonant, the last not `w`, `x` or `y`; or a vowel
/// and any consonant, nothing else (nltk).
fn ends_cvc(word: &str) -> bool {
    let (mut last_three, mut length) = ([false; 3], 0);
    for consonant in consonants(word) {
        last_three = [last_three[1], last_three[2], consonant];
        length += 1;
    }
    match length {
        0 | 1 => false,
        2 => last_three[1..] == [false, true],
        _ => last_three == [true, false, true] && !word.ends_with(['w', 'x', 'y']),
    }
}

/// Replaces the first of the suffixes that the word has, if the stem before it
/// meets the condition; no further one is tried.
fn replace_first(word: &mut String, rules: &[(&str, &str)], condition: impl Fn(&str) -> bool) {
    let rule = rules.iter().find(|(suffix, _)| word.ends_with(suffix));
    if let Some((suffix, replacement)) = rule {
        replace_if(word, suffix, replacement, condition);
    }
}

/// Replaces a suffix that the word has, if the stem before it meets the condition.
fn replace_if(
    word: &mut String,
    suffix: &str,
    replacement: &str,
    condition: impl Fn(&str) -> bool,
) {
    let length = word.len() - suffix.len();
    if condition(&word[..length]) {
        word.truncate(length);
        word.push_str(replacement);
    }
}

fn step_1a(word: &mut String) {
    // nltk: `dies` is `die`, but `flies` is `fli`.
    if word.len() == 4 && word.ends_with("ies") {
        word.pop();
        return;
    }
    let rules = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];
    replace_first(word, &rules, |_| true);
}

fn step_1b(word: &mut String) {
    // nltk: `died` is `die`, but `spied` is `spi`.
    if word.ends_with("ied") {
        word.truncate(word.len() - if word.len() == 4 { 1 } else { 2 });
        return;
    }
    if word.ends_with("eed") {
        replace_if(word, "eed", "ee", |stem| measure(stem) > 0);
        return;
    }
    let stem = ["ed", "ing"]
        .iter()
        .filter_map(|suffix| word.strip_suffix(suffix))
        .find(|stem| has_vowel(stem));
    let Some(length) = stem.map(str::len) else {
        return;
    };
    word.truncate(length);
    if ["at", "bl", "iz"].iter().any(|end| word.ends_with(end)) {
        word.push('e');
    } else if ends_in_double_consonant(word) {
        if !word.ends_with(['l', 's', 'z']) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_cvc(word) {
        word.push('e');
    }
}

fn step_1c(word: &mut String) {
    // nltk: after a consonant that isn't the first letter; Porter has `*v*`.
    replace_first(word, &[("y", "i")], |stem| {
        stem.len() > 1 && ends_in_consonant(stem)
    });
}

fn step_2(word: &mut String) {
    let positive = |stem: &str| measure(stem) > 0;
    // nltk: `alli` comes first, and what it leaves goes through this step again.
    while word.strip_suffix("alli").is_some_and(positive) {
        word.truncate(word.len() - 2);
    }
    let rules = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
    ];
    // nltk: the `l` of `logi` counts as part of the stem.
    if word.ends_with("logi") {
        replace_if(word, "ogi", "og", positive);
    } else {
        replace_first(word, &rules, positive);
    }
}

fn step_3(word: &mut String) {
    let rules = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    replace_first(word, &rules, |stem| measure(stem) > 0);
}

fn step_4(word: &mut String) {
    let suffixes = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
        "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    ];
    let suffix = suffixes.into_iter().find(|suffix| word.ends_with(suffix));
    if let Some(suffix) = suffix {
        replace_if(word, suffix, "", |stem| {
            measure(stem) > 1 && (suffix != "ion" || stem.ends_with(['s', 't']))
        });
    }
}

fn step_5a(word: &mut String) {
    replace_first(word, &[("e", "")], |stem| match measure(stem) {
        0 => false,
        1 => !ends_cvc(stem),
        _ => true,
    });
}

fn step_5b(word: &mut String) {
    replace_first(word, &[("l", "")], |stem| {
        stem.ends_with('l') && measure(stem) > 1
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a rule that is lost or comes in another order. Words and
    /// their stems: see `golden/README.md`.
    #[test]
    fn stems_are_nltks() {
        let lines = include_str!("../golden/stems.txt").lines();
        let mut words = 0;
        for line in lines {
            let (word, expected) = line.split_once(' ').expect("word and stem");
            assert_eq!(stem(word), expected, "{word}");
            words += 1;
        }
        assert!(words > 500, "{words}");
    }
}
