//! A hub on this machine: whole, interrupted, forbidden, absent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// What the hub on this machine holds and what it was asked.
#[derive(Default)]
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes after which each of the next answers breaks off.
    cuts: Vec<usize>,
    /// Answers every request with this status.
    status: Option<u16>,
    /// The token it wants.
    token: Option<String>,
    /// Large files lie elsewhere, as on the real one.
    elsewhere: Option<String>,
    /// Sends other bytes than it says.
    lies: bool,
    requests: Vec<String>,
}

fn start(hub: Hub) -> (String, Arc<Mutex<Hub>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let hub = Arc::new(Mutex::new(hub));
    let shared = Arc::clone(&hub);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || answer(stream, &shared));
        }
    });
    (address, hub)
}

/// One request a connection.
fn answer(mut stream: TcpStream, hub: &Mutex<Hub>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let request = lines.next().and_then(Result::ok).unwrap_or_default();
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    let header = |name: &str| {
        let prefix = format!("{name}: ");
        headers
            .iter()
            .find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    let mut hub = hub.lock().expect("no panic");
    let range = header("range").unwrap_or_default();
    let authorized = header("authorization").is_some();
    hub.requests.push(format!(
        "{request} {range}{}",
        if authorized { " token" } else { "" }
    ));
    let mut words = request.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let wanted = hub.token.as_ref().map(|token| format!("bearer {token}"));
    let (mut status, mut extra, mut body) = (200, String::new(), Vec::new());
    let file = path
        .strip_prefix("/owner/name/resolve/c0ffee/")
        .or(path.strip_prefix("/store/"));
    if let Some(forced) = hub.status {
        status = forced;
    } else if wanted.is_some() && header("authorization") != wanted && !path.starts_with("/store/")
    {
        status = 401;
    } else if path == "/api/models/owner/name/revision/main" {
        let siblings: Vec<_> = hub
            .files
            .keys()
            .map(|f| serde_json::json!({"rfilename": f}))
            .collect();
        body = serde_json::json!({"sha": "c0ffee", "siblings": siblings})
            .to_string()
            .into_bytes();
    } else if let Some(bytes) = file.and_then(|file| hub.files.get(file)) {
        use sha2::Digest;
        let large = bytes.len() > 1000;
        let hash: String = match large {
            true => sha2::Sha256::digest(bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            false => format!("small{}", bytes.len()),
        };
        match (&hub.elsewhere, path.starts_with("/store/")) {
            (Some(place), false) if large => {
                status = 302;
                let file = file.unwrap_or_default();
                extra = format!(
                    "Location: {place}/store/{file}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\nETag: \"other\"\r\n",
                    bytes.len()
                );
            }
            _ => {
                extra = format!("ETag: \"{hash}\"\r\n");
                let from = range
                    .strip_prefix("bytes=")
                    .and_then(|r| r.strip_suffix('-'));
                let from: usize = from.and_then(|from| from.parse().ok()).unwrap_or(0);
                status = if from > 0 { 206 } else { 200 };
                body = bytes[from..].to_vec();
                if hub.lies && large {
                    body[0] ^= 1;
                }
            }
        }
    } else {
        status = 404;
    }
    let cut = match method == "GET" && body.len() > 1000 && !hub.cuts.is_empty() {
        true => hub.cuts.remove(0),
        false => usize::MAX,
    };
    drop(hub);
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    if method == "GET" {
        let _ = stream.write_all(&body[..body.len().min(cut)]);
    }
}

/// A hub with a model: configuration, tokenizer, the given weights, and what nobody wants.
fn model(weights: &[&str]) -> Hub {
    let mut hub = Hub::default();
    let mut add = |name: &str, bytes: Vec<u8>| drop(hub.files.insert(name.to_owned(), bytes));
    add("config.json", b"{}".to_vec());
    add("vocab.json", b"{\"a\": 0}".to_vec());
    add("README.md", b"# read".to_vec());
    add("tf_model.h5", vec![7; 5000]);
    for (i, name) in weights.iter().enumerate() {
        add(
            name,
            (0..200_000u32).map(|n| (n >> 4) as u8 ^ i as u8).collect(),
        );
    }
    hub
}

fn resolve_from(
    hub: &str,
    cache: &Path,
    offline: bool,
    token: Option<&str>,
) -> Result<PathBuf, Error> {
    resolve_with("owner/name", || Settings {
        cache: cache.to_owned(),
        endpoint: hub.to_owned(),
        token: token.map(str::to_owned),
        offline,
    })
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort_unstable();
    names
}

// Would catch files too many or too few, a second fetch of what is there, and a cache that works
// only online.
#[test]
fn a_model_is_fetched_once() {
    let cache = tempfile::tempdir().expect("temporary folder");
    let (address, hub) = start(model(&["model.safetensors", "pytorch_model.bin"]));
    let folder = resolve_from(&address, cache.path(), false, None).expect("fetched");
    assert_eq!(
        files(&folder),
        ["config.json", "model.safetensors", "vocab.json"]
    );
    let weights = std::fs::read(folder.join("model.safetensors")).expect("weights");
    assert_eq!(
        weights,
        hub.lock().expect("no panic").files["model.safetensors"]
    );
    let asked = hub.lock().expect("no panic").requests.len();
    for offline in [false, true] {
        let again = resolve_from(&address, cache.path(), offline, None).expect("cached");
        assert_eq!(again, folder);
    }
    assert_eq!(hub.lock().expect("no panic").requests.len(), asked);
    // The layout that Python's client knows.
    let root = cache.path().join("models--owner--name");
    assert_eq!(files(&root), ["blobs", "refs", "snapshots"]);
    assert_eq!(
        std::fs::read_to_string(root.join("refs/main")).expect("a commit"),
        "c0ffee"
    );
    assert_eq!(files(&root.join("blobs")).len(), 3);
}

// Would catch parts that are not fetched, and a model of which one is missing that counts as there.
#[test]
fn parts_follow_their_index() {
    let cache = tempfile::tempdir().expect("temporary folder");
    let mut model = model(&["m-1.bin", "m-2.bin", "m-3.bin"]);
    let index = r#"{"weight_map": {"a": "m-1.bin", "b": "m-2.bin", "c": "m-1.bin", "d": "../x"}}"#;
    model
        .files
        .insert("pytorch_model.bin.index.json".into(), index.into());
    let (address, _hub) = start(model);
    let folder = resolve_from(&address, cache.path(), false, None).expect("fetched");
    assert_eq!(
        files(&folder),
        [
            "config.json",
            "m-1.bin",
            "m-2.bin",
            "pytorch_model.bin.index.json",
            "vocab.json"
        ]
    );
    assert!(is_complete(&folder));
    std::fs::remove_file(folder.join("m-2.bin")).expect("removed");
    assert!(!is_complete(&folder));
    assert!(matches!(
        resolve_from(&address, cache.path(), true, None),
        Err(Error::Offline { .. })
    ));
}

// Would catch a download that begins again, loses bytes where it broke, or gives up while it moves.
#[test]
fn a_broken_download_goes_on() {
    let cache = tempfile::tempdir().expect("temporary folder");
    let mut whole = model(&["model.safetensors"]);
    whole.cuts = vec![70_000, 0, 50_000];
    let (address, hub) = start(whole);
    let folder = resolve_from(&address, cache.path(), false, None).expect("fetched");
    let hub = hub.lock().expect("no panic");
    let weights = std::fs::read(folder.join("model.safetensors")).expect("weights");
    assert_eq!(weights, hub.files["model.safetensors"]);
    let asked: Vec<&str> = hub
        .requests
        .iter()
        .filter(|r| r.starts_with("GET") && r.contains("model.safetensors"))
        .map(|r| r.rsplit(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(asked, ["", "bytes=70000-", "bytes=70000-", "bytes=120000-"]);
}

// Would catch a try that throws away what an earlier process had fetched.
#[test]
fn another_run_goes_on() {
    let cache = tempfile::tempdir().expect("temporary folder");
    let mut whole = model(&["model.safetensors"]);
    whole.cuts = vec![90_000, 0, 0, 0, 0, 0, 0, 0];
    let (address, hub) = start(whole);
    let error = resolve_from(&address, cache.path(), false, None).expect_err("gives up");
    assert!(
        error
            .to_string()
            .contains("`model.safetensors` ended after 90000 of 200000 bytes"),
        "{error}"
    );
    {
        let mut hub = hub.lock().expect("no panic");
        hub.cuts.clear();
        hub.requests.clear();
    }
    resolve_from(&address, cache.path(), false, None).expect("fetched");
    let hub = hub.lock().expect("no panic");
    let ranges: Vec<_> = hub
        .requests
        .iter()
        .filter(|r| r.contains("bytes="))
        .collect();
    assert_eq!(
        ranges,
        ["GET /owner/name/resolve/c0ffee/model.safetensors HTTP/1.1 bytes=90000-"]
    );
}

// Would catch bytes that are not the hub's, and a token that is given to another host.
#[test]
fn bytes_are_checked_and_tokens_stay() {
    let cache = tempfile::tempdir().expect("temporary folder");
    let (elsewhere, store) = start(model(&["model.safetensors"]));
    let mut whole = model(&["model.safetensors"]);
    // Another host by name, though the same machine.
    whole.elsewhere = Some(elsewhere);
    whole.token = Some("secret".into());
    let (address, hub) = start(whole);
    store.lock().expect("no panic").lies = true;
    let error = resolve_from(&address, cache.path(), false, Some("secret")).expect_err("refused");
    assert!(
        error.to_string().contains("arrived with other bytes"),
        "{error}"
    );
    store.lock().expect("no panic").lies = false;
    resolve_from(&address, cache.path(), false, Some("secret")).expect("fetched");
    assert!(
        hub.lock()
            .expect("no panic")
            .requests
            .iter()
            .all(|r| r.ends_with(" token"))
    );
    let asked = &store.lock().expect("no panic").requests;
    assert!(
        !asked.is_empty() && asked.iter().all(|r| !r.ends_with(" token")),
        "{asked:?}"
    );
}

// Would catch a refusal that does not say what to do.
#[test]
fn refusals_say_what_to_do() {
    let check = |hub: Hub, token: Option<&str>, expected: &str| {
        let cache = tempfile::tempdir().expect("temporary folder");
        let (address, _hub) = start(hub);
        let error = resolve_from(&address, cache.path(), false, token).expect_err("refused");
        let error = error.to_string();
        assert!(
            error.contains(expected) && error.contains("\nhint: "),
            "{error}"
        );
    };
    let with_status = |status| Hub {
        status: Some(status),
        ..Hub::default()
    };
    check(
        with_status(404),
        None,
        "model `owner/name` is not on the hub, or is private (status 404",
    );
    check(with_status(401), None, "set HF_TOKEN");
    check(
        with_status(403),
        Some("t"),
        "may not be read with this token (status 403",
    );
    check(with_status(418), None, "the hub answered with status 418");
    check(
        model(&["model.onnx"]),
        None,
        "has no weights that are read: found README.md, config.json",
    );
    let cache = tempfile::tempdir().expect("temporary folder");
    let gone = resolve_from("http://127.0.0.1:9", cache.path(), false, None);
    assert!(
        gone.expect_err("refused")
            .to_string()
            .contains("can't be fetched")
    );
    let offline = resolve_from("http://127.0.0.1:9", cache.path(), true, None);
    assert!(
        offline
            .expect_err("refused")
            .to_string()
            .contains("HF_HUB_OFFLINE is set")
    );
    assert!(matches!(
        resolve("no/such/folder"),
        Err(Error::NotAFolder { .. })
    ));
    assert!(matches!(resolve("../name"), Err(Error::NotAFolder { .. })));
}
