//! The hub's variables, as its Python client reads them.

use std::path::PathBuf;

/// Where the hub is when `HF_ENDPOINT` says nothing.
const ENDPOINT: &str = "https://huggingface.co";

/// How the hub is reached and where its files lie.
pub(super) struct Settings {
    /// The folder of all models.
    pub(super) cache: PathBuf,
    /// Address without a slash at its end.
    pub(super) endpoint: String,
    pub(super) token: Option<String>,
    /// Nothing is fetched.
    pub(super) offline: bool,
}

impl Settings {
    pub(super) fn from_environment() -> Self {
        Self::of(&|name| std::env::var(name).ok())
    }

    fn of(variables: &dyn Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variables(name).filter(|value| !value.is_empty());
        let home = || {
            PathBuf::from(
                variable("HOME")
                    .or_else(|| variable("USERPROFILE"))
                    .unwrap_or_default(),
            )
        };
        let hub_home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(folder)) => PathBuf::from(folder).join("huggingface"),
            (None, None) => home().join(".cache/huggingface"),
        };
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let file = match variable("HF_TOKEN_PATH") {
            Some(file) => PathBuf::from(file),
            None => hub_home.join("token"),
        };
        let of_file = || std::fs::read_to_string(file).ok();
        let token = token.or_else(of_file).map(|token| token.trim().to_owned());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        Self {
            cache: cache.map_or_else(|| hub_home.join("hub"), PathBuf::from),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| {
                matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Settings {
        Settings::of(&|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    // Would catch a variable that is not read, or read before one that goes before it.
    #[test]
    fn variables_are_the_hubs() {
        let check = |variables: &[(&str, &str)], cache: &str| {
            assert_eq!(of(variables).cache, PathBuf::from(cache));
        };
        check(&[("HOME", "/h")], "/h/.cache/huggingface/hub");
        check(
            &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
            "/x/huggingface/hub",
        );
        check(
            &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")],
            "/f/hub",
        );
        check(&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/o")], "/o");
        check(
            &[
                ("HF_HOME", "/f"),
                ("HF_HUB_CACHE", "/c"),
                ("HUGGINGFACE_HUB_CACHE", "/o"),
            ],
            "/c",
        );
        for (value, offline) in [
            ("1", true),
            ("true", true),
            ("0", false),
            ("", false),
            ("no", false),
        ] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
        assert_eq!(of(&[("HF_ENDPOINT", "http://e/")]).endpoint, "http://e");
        assert_eq!(of(&[]).endpoint, ENDPOINT);
    }

    // Would catch a token file that is not found, or goes before the variable.
    #[test]
    fn tokens_come_from_a_variable_or_a_file() {
        let home = tempfile::tempdir().expect("temporary folder");
        let path = home.path().to_str().expect("a path");
        assert_eq!(of(&[("HF_HOME", path)]).token, None);
        std::fs::write(home.path().join("token"), "hf_file\n").expect("write");
        assert_eq!(of(&[("HF_HOME", path)]).token.as_deref(), Some("hf_file"));
        let both = of(&[("HF_HOME", path), ("HF_TOKEN", "hf_variable")]);
        assert_eq!(both.token.as_deref(), Some("hf_variable"));
        let other = format!("{path}/token");
        assert_eq!(
            of(&[("HF_TOKEN_PATH", &other)]).token.as_deref(),
            Some("hf_file")
        );
    }
}
