//! The grammar of the embedded tasks: forms with slots, and the parts that fill a slot.
//!
//! A form is one shape of function (`sum over a filtered, mapped list`); a combination picks one
//! part per slot. Words and code of a part are templates:
//!
//! - `{k}` a digit from 3 to 9, `{n}` a length from 3 to 5, `{c}` a letter; each slot draws its own;
//! - `{x}` the variable that the part is about;
//! - `{0}`, `{1}`, `{2}` in words: the words of that slot;
//! - `{noun}` what the form calls its items: numbers, digits, pairs.

/// One choice for a slot.
pub struct Part {
    pub name: &'static str,
    pub code: &'static str,
    /// Ways to say it; a task draws one.
    pub words: &'static [&'static str],
}

pub struct Slot {
    pub name: &'static str,
    pub parts: &'static [Part],
    /// What `{x}` stands for in this slot.
    pub variable: &'static str,
}

/// What values the function is tried on.
#[derive(Clone, Copy)]
pub enum Arguments {
    TwoIntegers,
    Count,
    PositiveInteger,
    Numbers,
    TwoLists,
    Words,
    Text,
    Dictionary,
}

pub struct Form {
    pub family: &'static str,
    pub name: &'static str,
    pub signature: &'static str,
    pub arguments: Arguments,
    pub noun: &'static str,
    /// Where the items come from; follows the words of the first slot.
    pub source: &'static str,
    pub slots: [Slot; 3],
    /// What follows "returns" in a prompt; a task draws one.
    pub sentences: &'static [&'static str],
    /// The function's body from the code of the three parts, indented by four spaces.
    pub body: fn([&str; 3]) -> String,
}

const fn part(name: &'static str, code: &'static str, words: &'static [&'static str]) -> Part {
    Part { name, code, words }
}

const fn slot(name: &'static str, variable: &'static str, parts: &'static [Part]) -> Slot {
    Slot {
        name,
        parts,
        variable,
    }
}

const NUMBER_FILTERS: &[Part] = &[
    part("all", "", &["{noun}"]),
    part("even", "{x} % 2 == 0", &["even {noun}"]),
    part("odd", "{x} % 2 == 1", &["odd {noun}"]),
    part("positive", "{x} > 0", &["positive {noun}"]),
    part("negative", "{x} < 0", &["negative {noun}"]),
    part(
        "above",
        "{x} > {k}",
        &["{noun} above {k}", "{noun} greater than {k}"],
    ),
    part(
        "below",
        "{x} < {k}",
        &["{noun} below {k}", "{noun} less than {k}"],
    ),
    part(
        "multiple",
        "{x} % {k} == 0",
        &["multiples of {k}", "{noun} divisible by {k}"],
    ),
    part(
        "other",
        "{x} != {k}",
        &["{noun} other than {k}", "{noun} not equal to {k}"],
    ),
];

/// Filters for numbers that are never negative.
const NATURAL_FILTERS: &[Part] = &[
    part("all", "", &["{noun}"]),
    part("even", "{x} % 2 == 0", &["even {noun}"]),
    part("odd", "{x} % 2 == 1", &["odd {noun}"]),
    part(
        "above",
        "{x} > {k}",
        &["{noun} above {k}", "{noun} greater than {k}"],
    ),
    part(
        "below",
        "{x} < {k}",
        &["{noun} below {k}", "{noun} less than {k}"],
    ),
    part("multiple", "{x} % {k} == 0", &["{noun} divisible by {k}"]),
    part(
        "other",
        "{x} != {k}",
        &["{noun} other than {k}", "{noun} not equal to {k}"],
    ),
];

const NUMBER_MAPS: &[Part] = &[
    part("same", "{x}", &["the {0}"]),
    part(
        "square",
        "{x} * {x}",
        &["the squares of the {0}", "the squared {0}"],
    ),
    part(
        "double",
        "{x} * 2",
        &["the doubles of the {0}", "the doubled {0}"],
    ),
    part(
        "negate",
        "-{x}",
        &["the negatives of the {0}", "the negated {0}"],
    ),
    part(
        "plus",
        "{x} + {k}",
        &["{k} plus the {0}", "{k} added to the {0}"],
    ),
    part("times", "{x} * {k}", &["{k} times the {0}"]),
    part("half", "{x} // 2", &["the integer halves of the {0}"]),
    part(
        "remainder",
        "{x} % {k}",
        &["the remainders by {k} of the {0}"],
    ),
];

const BRANCH_CONDITIONS: &[Part] = &[
    part("greater", "a > b", &["a is greater than b", "a exceeds b"]),
    part("less", "a < b", &["a is less than b", "a is below b"]),
    part("even", "a % 2 == 0", &["a is even"]),
    part("odd", "b % 2 == 1", &["b is odd"]),
    part(
        "above",
        "a > {k}",
        &["a is above {k}", "a is greater than {k}"],
    ),
    part(
        "below",
        "b < {k}",
        &["b is below {k}", "b is less than {k}"],
    ),
    part(
        "multiple",
        "a % {k} == 0",
        &["a is divisible by {k}", "a is a multiple of {k}"],
    ),
];

const BRANCH_RESULTS: &[Part] = &[
    part("sum", "a + b", &["a plus b", "the sum of a and b"]),
    part("difference", "a - b", &["a minus b"]),
    part("backwards", "b - a", &["b minus a"]),
    part("product", "a * b", &["a times b", "the product of a and b"]),
    part("square", "a * a", &["a squared", "the square of a"]),
    part("plus", "b + {k}", &["b plus {k}", "{k} more than b"]),
];

const TERMS: &[Part] = &[
    part("same", "{x}", &["{x}"]),
    part("square", "{x} * {x}", &["{x} squared", "the square of {x}"]),
    part("double", "{x} * 2", &["twice {x}", "{x} doubled"]),
    part("half", "{x} // 2", &["the integer half of {x}"]),
    part("absolute", "abs({x})", &["the absolute value of {x}"]),
    part("modulo", "{x} % 10", &["{x} modulo 10"]),
];

const JOINTS: &[Part] = &[
    part(
        "plus",
        "{l} + {r}",
        &["{0}, plus {2}", "the sum of {0} and {2}"],
    ),
    part("minus", "{l} - {r}", &["{0}, minus {2}"]),
    part(
        "times",
        "({l}) * ({r})",
        &["{0}, times {2}", "the product of {0} and {2}"],
    ),
    part("larger", "max({l}, {r})", &["the larger of {0} and {2}"]),
    part("smaller", "min({l}, {r})", &["the smaller of {0} and {2}"]),
];

const WORD_FILTERS: &[Part] = &[
    part("all", "", &["words"]),
    part(
        "longer",
        "len(w) > {n}",
        &["words longer than {n}", "words with over {n} letters"],
    ),
    part(
        "shorter",
        "len(w) < {n}",
        &["words shorter than {n}", "words with under {n} letters"],
    ),
    part(
        "starts",
        "w[0] == \"{c}\"",
        &["words starting with {c}", "words that start with {c}"],
    ),
    part(
        "ends",
        "w[-1] == \"{c}\"",
        &["words ending with {c}", "words that end with {c}"],
    ),
    part(
        "contains",
        "\"{c}\" in w",
        &["words containing {c}", "words with {c}"],
    ),
    part(
        "lacks",
        "\"{c}\" not in w",
        &["words lacking {c}", "words without {c}"],
    ),
];

const WORD_MAPS: &[Part] = &[
    part("same", "w", &["the {0}"]),
    part(
        "upper",
        "w.upper()",
        &["the {0} in upper case", "the {0} in capitals"],
    ),
    part("title", "w.title()", &["the {0} in title case"]),
    part(
        "reversed",
        "w[::-1]",
        &["the {0} spelled backwards", "the {0}, each reversed"],
    ),
    part("first", "w[0]", &["the first letters of the {0}"]),
    part("last", "w[-1]", &["the last letters of the {0}"]),
    part("twice", "w * 2", &["the {0}, each repeated"]),
];

const WORD_RESULTS: &[Part] = &[
    part("list", "[{g}]", &["a list of {1}", "{1}, as a list"]),
    part("spaces", "\" \".join({g})", &["{1}, joined with spaces"]),
    part("dashes", "\"-\".join({g})", &["{1}, joined with dashes"]),
    part("glued", "\"\".join({g})", &["{1}, joined together"]),
    part(
        "sorted",
        "sorted({g})",
        &["a sorted list of {1}", "{1}, sorted"],
    ),
    part("backwards", "[{g}][::-1]", &["{1}, in reverse order"]),
    part(
        "distinct",
        "len({{g}})",
        &["the number of different values among {1}"],
    ),
];

const CHARACTER_FILTERS: &[Part] = &[
    part("all", "", &["characters"]),
    part("vowels", "c in \"aeiou\"", &["vowels", "lower-case vowels"]),
    part("no_vowels", "c not in \"aeiou\"", &["non-vowels"]),
    part("digits", "c.isdigit()", &["digits"]),
    part("letters", "c.isalpha()", &["letters"]),
    part("upper", "c.isupper()", &["upper-case letters", "capitals"]),
    part(
        "other",
        "c != \"{c}\"",
        &["characters other than {c}", "characters except {c}"],
    ),
];

const CHARACTER_MAPS: &[Part] = &[
    part("same", "c", &["the {0}"]),
    part("upper", "c.upper()", &["the {0} in upper case"]),
    part("lower", "c.lower()", &["the {0} in lower case"]),
    part(
        "twice",
        "c * 2",
        &["the {0}, each repeated", "the {0}, each doubled"],
    ),
    part("dash", "c + \"-\"", &["the {0}, each plus a dash"]),
    part("code", "str(ord(c))", &["the codes of the {0}"]),
];

const CHARACTER_RESULTS: &[Part] = &[
    part(
        "glued",
        "\"\".join({g})",
        &["a string of {1}", "{1}, as a string"],
    ),
    part("list", "[{g}]", &["a list of {1}", "{1}, as a list"]),
    part(
        "sorted",
        "sorted({g})",
        &["a sorted list of {1}", "{1}, sorted"],
    ),
    part(
        "backwards",
        "\"\".join({g})[::-1]",
        &["{1}, as a reversed string"],
    ),
    part("commas", "\",\".join({g})", &["{1}, joined with commas"]),
    part(
        "distinct",
        "len({{g}})",
        &["the number of different values among {1}"],
    ),
];

const ENTRY_FILTERS: &[Part] = &[
    part("all", "", &["entries of d"]),
    part("even", "v % 2 == 0", &["entries of d with even value"]),
    part("odd", "v % 2 == 1", &["entries of d with odd value"]),
    part(
        "above",
        "v > {k}",
        &[
            "entries of d with value above {k}",
            "entries of d with value over {k}",
        ],
    ),
    part(
        "below",
        "v < {k}",
        &[
            "entries of d with value below {k}",
            "entries of d with value under {k}",
        ],
    ),
    part(
        "longer",
        "len(k) > {n}",
        &["entries of d with key longer than {n}"],
    ),
    part(
        "contains",
        "\"{c}\" in k",
        &["entries of d with {c} in the key"],
    ),
];

const KEY_MAPS: &[Part] = &[
    part("same", "k", &["unchanged keys", "the same keys"]),
    part(
        "upper",
        "k.upper()",
        &["upper-case keys", "keys in upper case"],
    ),
    part("reversed", "k[::-1]", &["reversed keys"]),
    part("first", "k[0]", &["keys cut to their first letter"]),
    part("twice", "k * 2", &["repeated keys", "doubled keys"]),
    part("length", "len(k)", &["the lengths of the keys as keys"]),
];

const VALUE_MAPS: &[Part] = &[
    part("same", "v", &["unchanged values", "the same values"]),
    part("square", "v * v", &["squared values", "values squared"]),
    part("double", "v * 2", &["doubled values", "values doubled"]),
    part("negate", "-v", &["negated values", "values negated"]),
    part(
        "plus",
        "v + {k}",
        &["values increased by {k}", "{k} added to the values"],
    ),
    part(
        "text",
        "str(v)",
        &["values as strings", "values turned into strings"],
    ),
];

const PROJECTIONS: &[Part] = &[
    part("key", "k", &["the keys of the {0}"]),
    part("value", "v", &["the values of the {0}"]),
    part("upper", "k.upper()", &["the upper-case keys of the {0}"]),
    part("square", "v * v", &["the squared values of the {0}"]),
    part("length", "len(k)", &["the key lengths of the {0}"]),
    part("plus", "v + {k}", &["{k} plus the values of the {0}"]),
    part(
        "first",
        "k[0]",
        &["the first letters of the keys of the {0}"],
    ),
];

const PROJECTION_RESULTS: &[Part] = &[
    part("list", "[{g}]", &["a list of {1}", "{1} as a list"]),
    part(
        "sorted",
        "sorted({g})",
        &["a sorted list of {1}", "{1}, sorted"],
    ),
    part(
        "largest",
        "max([{g}], default=0)",
        &["the largest of {1}, or 0"],
    ),
    part(
        "smallest",
        "min([{g}], default=0)",
        &["the smallest of {1}, or 0"],
    ),
    part(
        "distinct",
        "len({{g}})",
        &["the number of different values among {1}"],
    ),
    part("backwards", "[{g}][::-1]", &["{1} in reverse order"]),
];

const GROUP_KEYS: &[Part] = &[
    part("word", "w", &["each word in s", "each word of s"]),
    part("first", "w[0]", &["the first letter of each word in s"]),
    part("last", "w[-1]", &["the last letter of each word in s"]),
    part("length", "len(w)", &["the length of each word in s"]),
    part("upper", "w.upper()", &["each word in s in upper case"]),
    part(
        "reversed",
        "w[::-1]",
        &["each reversed word in s", "each word in s reversed"],
    ),
    part(
        "start",
        "w[:2]",
        &["the first two letters of each word in s"],
    ),
];

const GROUP_VALUES: &[Part] = &[
    part("word", "w", &["the {2}word", "the {2}word itself"]),
    part("first", "w[0]", &["the {2}first letter"]),
    part("last", "w[-1]", &["the {2}final letter"]),
    part("length", "len(w)", &["the {2}length"]),
    part("title", "w.title()", &["the {2}word in title case"]),
    part("twice", "w * 2", &["the {2}word repeated"]),
];

const GROUP_KINDS: &[Part] = &[
    part("latest", "out[{l}] = {r}", &["latest ", "most recent "]),
    part(
        "earliest",
        "out.setdefault({l}, {r})",
        &["earliest ", "original "],
    ),
    part(
        "joined",
        "out[{l}] = out.get({l}, \"\") + {r}",
        &["concatenation of every "],
    ),
    part(
        "listed",
        "out.setdefault({l}, []).append({r})",
        &["list of every ", "list of each "],
    ),
];

/// `MAP for VARIABLES in SOURCE if FILTER`, without the `if` where everything is kept.
fn generator(map: &str, variables: &str, source: &str, filter: &str) -> String {
    if filter.is_empty() {
        format!("{map} for {variables} in {source}")
    } else {
        format!("{map} for {variables} in {source} if {filter}")
    }
}

/// `return RESULT` around a generator.
fn comprehension(result: &str, generator: &str) -> String {
    format!("    return {}", result.replace("{g}", generator))
}

fn product_needs_parentheses(term: &str) -> bool {
    term.contains(" // ") || term.contains(" % ")
}

fn join_terms(joint: &str, left: &str, right: &str) -> String {
    let mut joint = joint.to_owned();
    for (bracketed, bare, term) in [("({l})", "{l}", left), ("({r})", "{r}", right)] {
        if !product_needs_parentheses(term) {
            joint = joint.replace(bracketed, bare);
        }
    }
    joint.replace("{l}", left).replace("{r}", right)
}

/// A loop over `1..=n` with an accumulator; `update` is like `total += {g}`.
fn range_loop(start: &str, update: &str, map: &str, filter: &str) -> String {
    let update = update.replace("{g}", map);
    let step = if filter.is_empty() {
        format!("        {update}")
    } else {
        format!("        if {filter}:\n            {update}")
    };
    format!("    out = {start}\n    for i in range(1, n + 1):\n{step}\n    return out")
}

/// All forms, grouped by family.
pub const FORMS: &[Form] = &[
    Form {
        family: "arithmetic",
        name: "branch",
        signature: "a, b",
        arguments: Arguments::TwoIntegers,
        noun: "numbers",
        source: "",
        slots: [
            slot("condition", "a", BRANCH_CONDITIONS),
            slot("then", "a", BRANCH_RESULTS),
            slot("otherwise", "a", BRANCH_RESULTS),
        ],
        sentences: &["{1} if {0}, else {2}"],
        body: |[condition, then, otherwise]| {
            format!("    if {condition}:\n        return {then}\n    return {otherwise}")
        },
    },
    Form {
        family: "arithmetic",
        name: "terms",
        signature: "a, b",
        arguments: Arguments::TwoIntegers,
        noun: "numbers",
        source: "",
        slots: [
            slot("left", "a", TERMS),
            slot("joint", "a", JOINTS),
            slot("right", "b", TERMS),
        ],
        sentences: &["{1}"],
        body: |[left, joint, right]| format!("    return {}", join_terms(joint, left, right)),
    },
    Form {
        family: "arithmetic",
        name: "range",
        signature: "n",
        arguments: Arguments::Count,
        noun: "numbers",
        source: " from 1 to n",
        slots: [
            slot("filter", "i", NATURAL_FILTERS),
            slot("map", "i", NUMBER_MAPS),
            slot(
                "result",
                "i",
                &[
                    part(
                        "sum",
                        "0|out += {g}",
                        &["the sum of {1}", "the total of {1}"],
                    ),
                    part("product", "1|out *= {g}", &["the product of {1}"]),
                    part(
                        "list",
                        "[]|out.append({g})",
                        &["a list of {1}", "{1} as a list"],
                    ),
                    part(
                        "text",
                        "\"\"|out += str({g})",
                        &["a string of {1}", "{1} as a string"],
                    ),
                ],
            ),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| {
            let (start, update) = result.split_once('|').expect("written above");
            range_loop(start, update, map, filter)
        },
    },
    Form {
        family: "arithmetic",
        name: "digits",
        signature: "n",
        arguments: Arguments::PositiveInteger,
        noun: "digits",
        source: " of n",
        slots: [
            slot("filter", "x", NATURAL_FILTERS),
            slot("map", "x", NUMBER_MAPS),
            slot(
                "result",
                "x",
                &[
                    part("sum", "sum({g})", &["the sum of {1}", "the total of {1}"]),
                    part("list", "[{g}]", &["a list of {1}", "{1} as a list"]),
                    part(
                        "largest",
                        "max([{g}], default=0)",
                        &["the largest of {1}, or 0"],
                    ),
                    part(
                        "sorted",
                        "sorted({g})",
                        &["a sorted list of {1}", "{1}, sorted"],
                    ),
                ],
            ),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| {
            comprehension(result, &generator(map, "x", "map(int, str(n))", filter))
        },
    },
    Form {
        family: "lists",
        name: "reduce",
        signature: "xs",
        arguments: Arguments::Numbers,
        noun: "numbers",
        source: " in xs",
        slots: [
            slot("filter", "x", NUMBER_FILTERS),
            slot("map", "x", NUMBER_MAPS),
            slot(
                "result",
                "x",
                &[
                    part("sum", "sum({g})", &["the sum of {1}", "the total of {1}"]),
                    part("list", "[{g}]", &["a list of {1}", "{1} as a list"]),
                    part(
                        "largest",
                        "max([{g}], default=0)",
                        &["the largest of {1}, or 0"],
                    ),
                    part(
                        "smallest",
                        "min([{g}], default=0)",
                        &["the smallest of {1}, or 0"],
                    ),
                    part(
                        "sorted",
                        "sorted({g})",
                        &["a sorted list of {1}", "{1}, sorted"],
                    ),
                    part(
                        "descending",
                        "sorted([{g}], reverse=True)",
                        &["a descending list of {1}", "{1} in descending order"],
                    ),
                    part("backwards", "[{g}][::-1]", &["{1} in reverse order"]),
                    part(
                        "distinct",
                        "len({{g}})",
                        &["the number of different values among {1}"],
                    ),
                ],
            ),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| comprehension(result, &generator(map, "x", "xs", filter)),
    },
    Form {
        family: "lists",
        name: "choose",
        signature: "xs",
        arguments: Arguments::Numbers,
        noun: "numbers",
        source: "",
        slots: [
            slot(
                "filter",
                "x",
                &[
                    part("even", "{x} % 2 == 0", &["even ones"]),
                    part("odd", "{x} % 2 == 1", &["odd ones"]),
                    part("positive", "{x} > 0", &["positive ones"]),
                    part("negative", "{x} < 0", &["negative ones"]),
                    part(
                        "above",
                        "{x} > {k}",
                        &["ones above {k}", "ones greater than {k}"],
                    ),
                    part(
                        "below",
                        "{x} < {k}",
                        &["ones below {k}", "ones less than {k}"],
                    ),
                    part("multiple", "{x} % {k} == 0", &["multiples of {k}"]),
                ],
            ),
            slot(
                "then",
                "x",
                &[
                    part("square", "{x} * {x}", &["squared"]),
                    part("double", "{x} * 2", &["doubled"]),
                    part("negate", "-{x}", &["negated"]),
                    part("plus", "{x} + {k}", &["increased by {k}", "plus {k}"]),
                    part("half", "{x} // 2", &["halved to integers"]),
                    part("zero", "0", &["replaced by 0", "set to 0"]),
                ],
            ),
            slot(
                "otherwise",
                "x",
                &[
                    part("same", "{x}", &["unchanged", "kept"]),
                    part("square", "{x} * {x}", &["squared"]),
                    part("double", "{x} * 2", &["doubled"]),
                    part("negate", "-{x}", &["negated"]),
                    part("plus", "{x} + {k}", &["increased by {k}", "plus {k}"]),
                    part("times", "{x} * {k}", &["multiplied by {k}", "times {k}"]),
                ],
            ),
        ],
        sentences: &[
            "the numbers of xs with the {0} {1} and the others {2}",
            "xs with its {0} {1} and the rest {2}",
        ],
        body: |[filter, then, otherwise]| {
            format!("    return [{then} if {filter} else {otherwise} for x in xs]")
        },
    },
    Form {
        family: "lists",
        name: "pairs",
        signature: "xs, ys",
        arguments: Arguments::TwoLists,
        noun: "pairs",
        source: " in zip(xs, ys)",
        slots: [
            slot(
                "filter",
                "x",
                &[
                    part("all", "", &["{noun}"]),
                    part("greater", "x > y", &["{noun} with x greater than y"]),
                    part("less", "x < y", &["{noun} with x less than y"]),
                    part("different", "x != y", &["{noun} with x other than y"]),
                    part("even", "x % 2 == 0", &["{noun} with even x"]),
                    part("odd", "y % 2 == 1", &["{noun} with odd y"]),
                    part("above", "x > {k}", &["{noun} with x above {k}"]),
                ],
            ),
            slot(
                "map",
                "x",
                &[
                    part(
                        "sum",
                        "x + y",
                        &["the sums of the {0}", "x plus y for the {0}"],
                    ),
                    part("difference", "x - y", &["x minus y for the {0}"]),
                    part(
                        "product",
                        "x * y",
                        &["the products of the {0}", "x times y for the {0}"],
                    ),
                    part(
                        "larger",
                        "max(x, y)",
                        &["the larger of x and y for the {0}"],
                    ),
                    part(
                        "smaller",
                        "min(x, y)",
                        &["the smaller of x and y for the {0}"],
                    ),
                    part("left", "x", &["x for the {0}"]),
                ],
            ),
            slot(
                "result",
                "x",
                &[
                    part("list", "[{g}]", &["a list of {1}"]),
                    part("sum", "sum({g})", &["the sum of {1}", "the total of {1}"]),
                    part(
                        "largest",
                        "max([{g}], default=0)",
                        &["the largest of {1}, or 0"],
                    ),
                    part("sorted", "sorted({g})", &["a sorted list of {1}"]),
                    part("backwards", "[{g}][::-1]", &["a reversed list of {1}"]),
                ],
            ),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| {
            comprehension(result, &generator(map, "x, y", "zip(xs, ys)", filter))
        },
    },
    Form {
        family: "strings",
        name: "words",
        signature: "s",
        arguments: Arguments::Words,
        noun: "words",
        source: " in s",
        slots: [
            slot("filter", "w", WORD_FILTERS),
            slot("map", "w", WORD_MAPS),
            slot("result", "w", WORD_RESULTS),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| {
            comprehension(result, &generator(map, "w", "s.split()", filter))
        },
    },
    Form {
        family: "strings",
        name: "characters",
        signature: "s",
        arguments: Arguments::Text,
        noun: "characters",
        source: " in s",
        slots: [
            slot("filter", "c", CHARACTER_FILTERS),
            slot("map", "c", CHARACTER_MAPS),
            slot("result", "c", CHARACTER_RESULTS),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| comprehension(result, &generator(map, "c", "s", filter)),
    },
    Form {
        family: "dictionaries",
        name: "entries",
        signature: "d",
        arguments: Arguments::Dictionary,
        noun: "entries",
        source: "",
        slots: [
            slot("filter", "v", ENTRY_FILTERS),
            slot("key", "k", KEY_MAPS),
            slot("value", "v", VALUE_MAPS),
        ],
        sentences: &[
            "the {0}, with {1} and {2}",
            "a dict of the {0} with {1} and {2}",
        ],
        body: |[filter, key, value]| {
            let pair = format!("{key}: {value}");
            format!(
                "    return {{{}}}",
                generator(&pair, "k, v", "d.items()", filter)
            )
        },
    },
    Form {
        family: "dictionaries",
        name: "project",
        signature: "d",
        arguments: Arguments::Dictionary,
        noun: "entries",
        source: "",
        slots: [
            slot("filter", "v", ENTRY_FILTERS),
            slot("map", "v", PROJECTIONS),
            slot("result", "v", PROJECTION_RESULTS),
        ],
        sentences: &["{2}"],
        body: |[filter, map, result]| {
            comprehension(result, &generator(map, "k, v", "d.items()", filter))
        },
    },
    Form {
        family: "dictionaries",
        name: "group",
        signature: "s",
        arguments: Arguments::Words,
        noun: "words",
        source: "",
        slots: [
            slot("key", "w", GROUP_KEYS),
            slot("value", "w", GROUP_VALUES),
            slot("kind", "w", GROUP_KINDS),
        ],
        sentences: &["a dict from {0} to {1}"],
        body: |[key, value, kind]| {
            let update = kind.replace("{l}", key).replace("{r}", value);
            format!("    out = {{}}\n    for w in s.split():\n        {update}\n    return out")
        },
    },
];
