//! `wit/releases.toml`: which versions there are, and what a release promised.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use semver::Version;
use serde::Deserialize;

use super::contract::version;

/// One version of the contract.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub version: Version,
    /// `None`: a draft.
    pub released: Option<Promise>,
}

/// What a released version never changes again.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// Of the release, UTC.
    pub date: toml::value::Datetime,
    /// Of the version's folder.
    pub sha256: String,
    /// Of the components kept for it.
    pub kept_sha256: String,
}

impl Release {
    /// As the file and the README say it.
    pub fn status(&self) -> &'static str {
        match self.released {
            Some(_) => "released",
            None => "draft",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    release: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    version: String,
    status: Status,
    date: Option<toml::value::Datetime>,
    sha256: Option<String>,
    kept_sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Draft,
    Released,
}

/// Reads the file's text.
///
/// # Errors
/// It isn't TOML, has a key that means nothing, a version twice, a draft with a
/// hash or a release without one.
pub fn parse(text: &str) -> Result<Vec<Release>> {
    let file: File = toml::from_str(text)?;
    let mut releases: Vec<Release> = Vec::new();
    for table in file.release {
        let version = version(&table.version)?;
        if releases.iter().any(|release| release.version == version) {
            bail!("version {version}: listed twice");
        }
        let released = match (table.status, table.date, table.sha256, table.kept_sha256) {
            (Status::Draft, None, None, None) => None,
            (Status::Draft, ..) => {
                bail!("version {version}: expected a draft without date and hashes")
            }
            (Status::Released, Some(date), Some(sha256), Some(kept_sha256)) => Some(Promise {
                date,
                sha256,
                kept_sha256,
            }),
            (Status::Released, ..) => {
                bail!("version {version}: expected `date`, `sha256` and `kept_sha256`")
            }
        };
        releases.push(Release { version, released });
    }
    Ok(releases)
}

/// The text with one more draft.
pub fn with_draft(text: &str, version: &Version) -> String {
    format!(
        "{}\n\n[[release]]\nversion = \"{version}\"\nstatus = \"draft\"\n",
        text.trim_end()
    )
}

/// The text with a draft turned into a release. All else, comments included,
/// stays as it is.
///
/// # Errors
/// The draft isn't written as commands write it.
pub fn with_release(text: &str, version: &Version, promise: &Promise) -> Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_header = |line: &String| line.trim_start().starts_with('[');
    let value = |line: &str, key: &str| {
        let (found, value) = line.split_once('=')?;
        let value = value.split('#').next().unwrap_or_default();
        (found.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    };
    let wanted = version.to_string();
    let at = lines
        .iter()
        .position(|line| value(line, "version").as_ref() == Some(&wanted));
    let status = at.and_then(|at| {
        let start = lines[..at].iter().rposition(is_header)?;
        let end = lines[at..].iter().position(is_header);
        let end = end.map_or(lines.len(), |length| at + length);
        (start..end).find(|&line| value(&lines[line], "status").as_deref() == Some("draft"))
    });
    if let Some(status) = status {
        lines[status] = lines[status].replacen("draft", "released", 1);
        let keys = [
            format!("date = {}", promise.date),
            format!("sha256 = \"{}\"", promise.sha256),
            format!("kept_sha256 = \"{}\"", promise.kept_sha256),
        ];
        lines.splice(status + 1..status + 1, keys);
    }
    let fresh = lines.join("\n") + "\n";
    // Editing lines keeps comments; parsing the result proves the edit.
    let expected: Vec<Release> = parse(text)?
        .into_iter()
        .map(|release| Release {
            released: if release.version == *version {
                Some(promise.clone())
            } else {
                release.released
            },
            ..release
        })
        .collect();
    if !parse(&fresh).is_ok_and(|found| found == expected) {
        bail!(
            "version {version}: expected a table with the lines `version = \"{version}\"` and \
             `status = \"draft\"`, found another form\nhint: write it like the others"
        );
    }
    Ok(fresh)
}

/// The day that it is, UTC.
///
/// # Errors
/// The clock stands before 1970.
pub fn today() -> Result<toml::value::Datetime> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?;
    Ok(date(since.as_secs() / (24 * 60 * 60)))
}

/// The day that many days after 1 January 1970 (H. Hinnant, `civil_from_days`,
/// <https://howardhinnant.github.io/date_algorithms.html>). A year begins in
/// March here: then a leap day is a year's last day and nothing moves behind it.
fn date(days: u64) -> toml::value::Datetime {
    // Days since 1 March of the year 0; 146 097 make 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let (month, next) = if from_march < 10 {
        (from_march + 3, 0)
    } else {
        (from_march - 9, 1)
    };
    toml::value::Datetime {
        date: Some(toml::value::Date {
            year: u16::try_from(era * 400 + year + next).unwrap_or(u16::MAX),
            month: u8::try_from(month).expect("at most 12"),
            day: u8::try_from(day).expect("at most 31"),
        }),
        time: None,
        offset: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise() -> Promise {
        Promise {
            date: date(20_000),
            sha256: "aa".to_owned(),
            kept_sha256: "bb".to_owned(),
        }
    }

    // Catches a calendar that is off by one around leap days and centuries.
    #[test]
    fn days_are_dates() {
        let check = |days, expected: &str| assert_eq!(date(days).to_string(), expected);
        check(0, "1970-01-01");
        check(58, "1970-02-28");
        check(59, "1970-03-01");
        check(11_016, "2000-02-29");
        check(20_000, "2024-10-04");
        check(20_453, "2025-12-31");
        check(47_540, "2100-02-28");
        check(47_541, "2100-03-01");
    }

    // Catches a freeze that loses comments, or that edits another version.
    #[test]
    fn edits_keep_everything_else() {
        let text = "# Head.\n\n[[release]]\nversion = \"0.1.0\" # first\nstatus = \"draft\"  # mind\n\
                    \n# Next.\n[[release]]\nstatus = \"draft\"\nversion = \"0.2.0\"\n";
        let fresh = with_release(text, &version("0.1.0").unwrap(), &promise()).unwrap();
        assert_eq!(
            fresh,
            "# Head.\n\n[[release]]\nversion = \"0.1.0\" # first\nstatus = \"released\"  # mind\n\
             date = 2024-10-04\nsha256 = \"aa\"\nkept_sha256 = \"bb\"\n\
             \n# Next.\n[[release]]\nstatus = \"draft\"\nversion = \"0.2.0\"\n"
        );
        let fresh = with_release(&fresh, &version("0.2.0").unwrap(), &promise()).unwrap();
        let parsed = parse(&with_draft(&fresh, &version("0.2.1").unwrap())).unwrap();
        let statuses: Vec<_> = parsed.iter().map(Release::status).collect();
        assert_eq!(statuses, ["released", "released", "draft"]);
        assert!(fresh.contains("# Next."));
    }

    // Catches an edit that claims to have happened.
    #[test]
    fn a_form_that_edits_do_not_know_is_refused() {
        let text = "release = [{ version = \"0.1.0\", status = \"draft\" }]\n";
        let error = with_release(text, &version("0.1.0").unwrap(), &promise()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "version 0.1.0: expected a table with the lines `version = \"0.1.0\"` and \
             `status = \"draft\"`, found another form\nhint: write it like the others"
        );
    }

    // Catches a file that promises nothing, or two things at once.
    #[test]
    fn half_a_release_is_refused() {
        let check = |table: &str, expected: &str| {
            let text = format!("[[release]]\nversion = \"0.1.0\"\n{table}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            "status = \"released\"\ndate = 2024-10-04\nsha256 = \"aa\"\n",
            "version 0.1.0: expected `date`, `sha256` and `kept_sha256`",
        );
        check(
            "status = \"draft\"\nsha256 = \"aa\"\n",
            "version 0.1.0: expected a draft without date and hashes",
        );
        check("status = \"frozen\"\n", "expected `draft` or `released`");
        check("status = \"draft\"\nsha = \"aa\"\n", "unknown field `sha`");
        check(
            "status = \"draft\"\n[[release]]\nversion = \"0.1.0\"\nstatus = \"draft\"\n",
            "version 0.1.0: listed twice",
        );
    }
}
