//! What is asked of the hub: which files a model has, and their bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body};

use super::cache::Cache;
use super::settings::Settings;

/// Tries that bring no new byte before a download is given up.
const TRIES: u32 = 4;
/// Pause before the second try; it doubles from there.
const PAUSE: Duration = Duration::from_millis(250);
/// A silence after which a connection counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
/// Redirections within the hub that are followed, as when a model was renamed.
const REDIRECTIONS: usize = 5;

/// Why something was not got.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the hub answered with status {0}")]
    Status(u16),
    #[error("{0}")]
    Connection(String),
    #[error("the hub's answer makes no sense: {0}")]
    Answer(String),
    #[error("`{file}` ended after {found} of {expected} bytes")]
    Short {
        file: String,
        found: u64,
        expected: u64,
    },
    #[error(
        "`{file}` arrived with other bytes than the hub has: its hash is {found}, not {expected}"
    )]
    Hash {
        file: String,
        found: String,
        expected: String,
    },
    #[error("{0}")]
    Disk(#[from] io::Error),
}

impl Failure {
    /// Whether another try may help.
    fn passes(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Short { .. } => true,
            Self::Status(status) => *status == 429 || *status >= 500,
            Self::Answer(_) | Self::Hash { .. } | Self::Disk(_) => false,
        }
    }
}

/// A connection to the hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// What the hub says of a file before it sends it.
struct Metadata {
    /// Names the bytes: SHA-256 of a large file, git's hash of a small one.
    hash: String,
    size: u64,
    /// Where the bytes are, with the token or without it.
    url: String,
    own: bool,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed by hand: the token is for the hub alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("rlhf/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
        }
    }

    /// The commit that `main` is, and the names of its files.
    pub(super) fn list(&self, name: &str) -> Result<(String, Vec<String>), Failure> {
        let url = format!("{}/api/models/{name}/revision/main", self.endpoint);
        let mut response = self.settled(&url, false)?.0;
        // A model of many parts has some thousand files.
        let text = response
            .body_mut()
            .with_config()
            .limit(16 << 20)
            .read_to_string();
        let text = text.map_err(|e| Failure::Connection(format!("{url}: {e}")))?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|e| Failure::Answer(format!("{url}: not JSON: {e}")))?;
        let commit = answer["sha"].as_str().filter(|sha| is_plain(sha));
        let commit = commit.ok_or_else(|| Failure::Answer(format!("{url}: no `sha`")))?;
        let files = answer["siblings"].as_array().into_iter().flatten();
        let names = files.filter_map(|file| file["rfilename"].as_str());
        Ok((commit.to_owned(), names.map(str::to_owned).collect()))
    }

    /// A file of a commit, in the cache.
    pub(super) fn get(
        &self,
        cache: &Cache,
        name: &str,
        commit: &str,
        file: &str,
    ) -> Result<PathBuf, Failure> {
        let path = cache.folder(commit).join(file);
        if path.is_file() {
            return Ok(path);
        }
        let url = format!("{}/{name}/resolve/{commit}/{file}", self.endpoint);
        let mut tries = 0;
        let metadata = loop {
            match self.metadata(&url) {
                Err(failure) if failure.passes() && tries + 1 < TRIES => {
                    std::thread::sleep(PAUSE * 2u32.pow(tries));
                    tries += 1;
                }
                other => break other?,
            }
        };
        let blob = cache.blob(&metadata.hash);
        if !blob.is_file() {
            self.download(file, &metadata, &blob)?;
        }
        Ok(cache.link(&metadata.hash, commit, file)?)
    }

    fn request(
        &self,
        url: &str,
        head: bool,
        own: bool,
        from: u64,
    ) -> Result<Response<Body>, Failure> {
        let mut request = match head {
            true => self.agent.head(url),
            false => self.agent.get(url),
        };
        if let Some(token) = self.token.as_ref().filter(|_| own) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let failed = |e: ureq::Error| Failure::Connection(format!("{url}: {e}"));
        request.call().map_err(failed)
    }

    /// The hub's own answer, after redirections within it, and where it sends us next, if it does.
    fn settled(&self, url: &str, head: bool) -> Result<(Response<Body>, String), Failure> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTIONS {
            let response = self.request(&url, head, true, 0)?;
            let status = response.status();
            if status.is_success() {
                return Ok((response, url));
            }
            if !status.is_redirection() {
                return Err(Failure::Status(status.as_u16()));
            }
            let location = text(response.headers(), header::LOCATION.as_str())
                .ok_or_else(|| Failure::Answer(format!("{url}: redirected to nowhere")))?;
            match location
                .strip_prefix('/')
                .filter(|rest| !rest.starts_with('/'))
            {
                Some(rest) => url = format!("{}/{rest}", self.origin()),
                None if location.starts_with(&format!("{}/", self.origin())) => url = location,
                None => return Ok((response, location)),
            }
        }
        Err(Failure::Answer(format!(
            "{url}: redirected more than {REDIRECTIONS} times"
        )))
    }

    /// Scheme and host of the hub.
    fn origin(&self) -> &str {
        let host = self.endpoint.find("://").map_or(0, |at| at + 3);
        let end = self.endpoint[host..]
            .find('/')
            .map_or(self.endpoint.len(), |at| host + at);
        &self.endpoint[..end]
    }

    fn metadata(&self, url: &str) -> Result<Metadata, Failure> {
        let (response, place) = self.settled(url, true)?;
        let headers = response.headers();
        let hash = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let hash = hash.unwrap_or_default();
        let hash = hash.trim_start_matches("W/").trim_matches('"');
        if !is_plain(hash) {
            return Err(Failure::Answer(format!("{url}: no usable `ETag`")));
        }
        let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
        let size = size.and_then(|size| size.parse().ok());
        Ok(Metadata {
            hash: hash.to_owned(),
            size: size.ok_or_else(|| Failure::Answer(format!("{url}: no size")))?,
            own: response.status().is_success(),
            url: place,
        })
    }

    /// Fetches a file's bytes beside their place and renames them. Bytes that an earlier try left
    /// are kept: it goes on from there.
    fn download(&self, name: &str, metadata: &Metadata, blob: &Path) -> Result<(), Failure> {
        fs::create_dir_all(blob.parent().expect("a blob lies in a folder"))?;
        let mut partial = blob.as_os_str().to_owned();
        partial.push(".incomplete");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&partial)?;
        // Another process may fetch the same: it is waited for.
        file.lock()?;
        if blob.is_file() {
            return Ok(());
        }
        let bar = ProgressBar::new(metadata.size).with_message(name.to_owned());
        let style = "{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template of ours"));
        let mut tries = 0;
        loop {
            let before = file.metadata()?.len();
            let Err(failure) = self.append(name, metadata, &mut file, &bar) else {
                break;
            };
            tries = if file.metadata()?.len() > before {
                0
            } else {
                tries + 1
            };
            if !failure.passes() || tries >= TRIES {
                return Err(failure);
            }
            std::thread::sleep(PAUSE * 2u32.pow(tries));
        }
        bar.finish_and_clear();
        if let Err(failure) = check_hash(name, &mut file, &metadata.hash) {
            // These bytes are no beginning of anything.
            fs::remove_file(&partial)?;
            return Err(failure);
        }
        fs::rename(&partial, blob)?;
        Ok(())
    }

    /// One request for the bytes that are missing.
    fn append(
        &self,
        name: &str,
        metadata: &Metadata,
        file: &mut File,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let mut have = file.seek(SeekFrom::End(0))?;
        if have > metadata.size {
            file.set_len(0)?;
            have = 0;
        }
        if have < metadata.size {
            let response = self.request(&metadata.url, false, metadata.own, have)?;
            match response.status().as_u16() {
                206 => {}
                // The whole file, whatever was asked for.
                200 => {
                    file.set_len(0)?;
                    have = 0;
                }
                status => return Err(Failure::Status(status)),
            }
            file.seek(SeekFrom::Start(have))?;
            bar.set_position(have);
            have += copy(response, file, metadata.size - have, bar)?;
        }
        if have < metadata.size {
            return Err(Failure::Short {
                file: name.to_owned(),
                found: have,
                expected: metadata.size,
            });
        }
        file.sync_all()?;
        Ok(())
    }
}

/// Copies at most `most` bytes of an answer; those that came before a failure count.
fn copy(
    response: Response<Body>,
    file: &mut File,
    most: u64,
    bar: &ProgressBar,
) -> io::Result<u64> {
    let mut reader = response.into_body().into_reader().take(most);
    let mut chunk = vec![0; 64 << 10];
    let mut copied = 0;
    loop {
        match reader.read(&mut chunk) {
            // A connection that breaks is no fault of the disk: the rest is asked for again.
            Ok(0) | Err(_) => return Ok(copied),
            Ok(n) => {
                file.write_all(&chunk[..n])?;
                bar.inc(n as u64);
                copied += n as u64;
            }
        }
    }
}

/// The name of a large file is its SHA-256.
fn check_hash(name: &str, file: &mut File, expected: &str) -> Result<(), Failure> {
    if expected.len() != 64 {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found == expected.to_lowercase() {
        return Ok(());
    }
    Err(Failure::Hash {
        file: name.to_owned(),
        found,
        expected: expected.to_owned(),
    })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// A name that can be a file's and leads nowhere else.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}
