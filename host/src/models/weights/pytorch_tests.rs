//! Pickles that torch wrote (`tests/golden/weights`), and what could be made of them.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::pickle::{Document, Fault, Value};
use super::{Element, Error, Files, PICKLE};
use crate::random::{Purpose, Stream};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(path)
}

fn expected() -> Json {
    let text = fs::read_to_string(golden("weights/expected.json")).expect("golden file");
    serde_json::from_str(&text).expect("golden file is JSON")
}

fn shape(value: &Json) -> Vec<usize> {
    let sizes = value["shape"].as_array().expect("a shape").iter();
    sizes
        .map(|n| n.as_u64().expect("a size") as usize)
        .collect()
}

/// What torch saw, against what we see.
fn check_views(file: &str) {
    let mut files = Files::single(&golden(file)).expect(file);
    for (name, view) in expected()["views"].as_object().expect("views") {
        let shape = shape(view);
        match files.take(name, &shape, &Device::Cpu) {
            Ok(tensor) => {
                let found = tensor.flatten_all().and_then(|t| t.to_vec1::<f32>());
                let numbers = view["values"].as_array().expect("values").iter();
                let numbers: Vec<f32> = numbers
                    .map(|x| x.as_f64().expect("a number") as f32)
                    .collect();
                assert_eq!(found.expect("f32"), numbers, "{file}: {name}");
            }
            Err(Error::Type { found, .. }) => {
                assert_eq!(found.to_lowercase(), *name, "{file}: {name}");
            }
            Err(error) => panic!("{file}: {name}: {error}"),
        }
    }
    files.finish(|_| false).expect("everything was taken");
}

// Would catch strides, offsets and shared storages that are passed over, a type that is read as
// another, and a form or protocol that is not known.
#[test]
fn torch_and_we_see_the_same() {
    for file in [
        "views",
        "views-legacy",
        "views-protocol3",
        "views-protocol4",
        "views-protocol5",
    ] {
        check_views(&format!("weights/{file}.bin"));
    }
}

// Would catch a tensor of a published form that is missing, or wrong in one bit.
#[test]
fn published_forms_are_read_bit_for_bit() {
    for (model, tensors) in expected()["models"].as_object().expect("models") {
        let mut files = Files::open(&golden(&format!("models/{model}"))).expect(model);
        for (name, tensor) in tensors.as_object().expect("tensors") {
            let taken = files.take(name, &shape(tensor), &Device::Cpu);
            if tensor["type"] != "float32" {
                assert!(matches!(taken, Err(Error::Type { .. })), "{model}: {name}");
                continue;
            }
            let values = taken.and_then(|t| Ok(t.flatten_all()?.to_vec1::<f32>()?));
            let mut hash = Sha256::new();
            for value in values.expect(name) {
                hash.update(value.to_le_bytes());
            }
            let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hash, tensor["sha256"], "{model}: {name}");
        }
        files.finish(|_| false).expect("everything was taken");
    }
}

#[track_caller]
fn check_refused(file: &str, message: &str) {
    let error = Files::single(&golden(file)).err().expect("must be refused");
    assert!(error.to_string().contains(message), "{error}");
    assert!(error.hint().is_some());
}

// Would catch a pickle that gets what it asks for, or a refusal without a name.
#[test]
fn hostile_pickles_are_refused_by_name() {
    check_refused(
        "weights/attack.bin",
        "attack.bin` asks for `posix.system`: refused",
    );
    check_refused(
        "weights/attack-legacy.bin",
        "attack-legacy.bin` asks for `posix.system`: refused",
    );
    check_refused(
        "weights/module.bin",
        "asks for `torch.nn.modules.linear.Linear`: refused",
    );
    check_refused(
        "weights/sparse.bin",
        "asks for `torch._utils._rebuild_sparse_tensor`: refused",
    );
    check_refused(
        "weights/checkpoint.bin",
        "is no dict of tensors: `epoch` is an integer",
    );
}

#[track_caller]
fn check_pickle(program: &[u8], expected: Fault) {
    match Document::read(program, 0) {
        Ok(document) => assert_eq!(document.tensors().err(), Some(expected)),
        Err(fault) => assert_eq!(fault, expected),
    }
}

/// A state dict of one tensor with the given storage size, offset, shape and stride opcodes.
fn one_tensor(elements: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 13] = [
        b"\x80\x02}U\x01w",
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu",
        elements,
        b"tQ",
        offset,
        b"(",
        shape,
        b"t(",
        strides,
        b"t",
        b"\x89NtR",
        b"s.",
    ];
    parts.concat()
}

// Would catch the other ways to name a class, and a stack, a memo or a size out of bounds.
#[test]
fn broken_pickles_are_values() {
    let refused = |what: &str| Fault::Refused(what.into());
    let broken = |message: &str| Fault::Broken(message.into());
    check_pickle(b"cos\nsystem\n.", refused("os.system"));
    check_pickle(
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        refused("builtins.eval"),
    );
    check_pickle(b"(ios\nsystem\n.", refused("os.system"));
    check_pickle(
        b"ctorch.storage\n_load_from_bytes\n.",
        refused("torch.storage._load_from_bytes"),
    );
    check_pickle(b"", Fault::Cut);
    check_pickle(b"X\xff\xff\xff\xffab", Fault::Cut);
    check_pickle(b"c", Fault::Cut);
    check_pickle(b".", broken("takes a value where there is none"));
    check_pickle(b"N(\x85.", broken("takes a value where there is none"));
    check_pickle(b"N.", broken("holds none, not a dict of tensors"));
    check_pickle(
        b"h\x07.",
        broken("asks for the value 7, which it never made"),
    );
    check_pickle(b"}(NNu.", broken("a tensor is named by none"));
    check_pickle(
        b"}(Nu.",
        broken("fills a dict with a key that has no value"),
    );
    check_pickle(b"\x80\x09.", broken("is a pickle of protocol 9"));
    check_pickle(
        b"\x81.",
        broken("byte 0: opcode 0x81 has no place in a state dict"),
    );
    check_pickle(b"N)R.", broken("calls none"));
    check_pickle(b"]N\x85b.", broken("sets attributes of a list"));
    // A dict that holds itself.
    check_pickle(
        b"}q\x00U\x01wh\x00s.",
        broken("is no dict of tensors: `w` is a dict"),
    );

    let good = one_tensor(b"K\x06", b"K\x00", b"K\x02K\x03", b"K\x03K\x01");
    assert!(Document::read(&good, 0).expect("reads").tensors().is_ok());
    let claims = |elements: &[u8], offset: &[u8], shape: &[u8], strides: &[u8], text: &str| {
        check_pickle(&one_tensor(elements, offset, shape, strides), broken(text));
    };
    let beyond = "has a tensor of shape [2, 3] on a storage of 6 elements";
    claims(b"K\x06", b"K\x01", b"K\x02K\x03", b"K\x03K\x01", beyond);
    claims(b"K\x06", b"K\x00", b"K\x02K\x03", b"K\x04K\x01", beyond);
    // One element, seen a billion times.
    claims(
        b"K\x01",
        b"K\x00",
        b"J\x00\xca\x9a\x3b",
        b"K\x00",
        "has a tensor of shape [1000000000] on a storage of 1 elements",
    );
    // Sizes whose product is no number.
    let huge = b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40";
    claims(
        b"K\x01",
        b"K\x00",
        &[&huge[..], huge].concat(),
        b"K\x00K\x00",
        "has a tensor of shape [4611686018427387904, 4611686018427387904] on a storage of 1 elements",
    );
    claims(
        b"K\x06",
        b"J\xff\xff\xff\xff",
        b"K\x02",
        b"K\x01",
        "has a size of -1",
    );
    claims(
        b"K\x06",
        b"K\x00",
        b"K\x02",
        b"",
        "has a tensor with more or fewer strides than dimensions",
    );
}

// Would catch nesting that costs stack, in reading or in dropping.
#[test]
fn depth_costs_nothing() {
    let mut program = vec![b')'];
    program.extend(std::iter::repeat_n(0x85, 1_000_000));
    program.push(b'.');
    let document = Document::read(&program, 0).expect("reads");
    assert!(matches!(document.root(), Value::Tuple(_)));
}

/// The pickles behind the golden files, in both forms.
fn programs() -> Vec<Vec<u8>> {
    let archive = fs::read(golden("weights/views.bin")).expect("golden file");
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).expect("an archive");
    let mut entry = archive.by_name("views/data.pkl").expect("its pickle");
    let mut program = Vec::new();
    std::io::copy(&mut entry, &mut program).expect("reads");
    let mut variants = vec![program];
    variants.push(one_tensor(b"K\x06", b"K\x00", b"K\x02K\x03", b"K\x03K\x01"));
    variants
}

// Would catch a panic, an endless loop or a value larger than the bytes behind it, wherever a
// pickle is cut or changed.
#[test]
fn changed_pickles_never_panic() {
    let mut rng = Stream::new(1, Purpose::Split, 0, 0);
    for program in programs() {
        for end in 0..program.len() {
            assert_eq!(Document::read(&program[..end], 0).err(), Some(Fault::Cut));
        }
        for _ in 0..20_000 {
            let mut changed = program.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(changed.len());
                match rng.below(3) {
                    0 => changed[at] = rng.below(256) as u8,
                    1 => drop(changed.remove(at)),
                    _ => changed.insert(at, b"(.}]tuesaRQbqhXKJ\x85\x8a\x93\x94"[rng.below(20)]),
                }
            }
            if let Ok(document) = Document::read(&changed, 0) {
                assert!(document.values.len() <= changed.len());
                for (_, view) in document.tensors().unwrap_or_default() {
                    let count: usize = view.shape.iter().product();
                    assert!(count <= view.storage.elements);
                }
            }
        }
    }
}

// Would catch a file that is cut or changed anywhere and still panics, or claims more than it has.
#[test]
fn changed_files_never_panic() {
    let mut rng = Stream::new(2, Purpose::Split, 0, 0);
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join(PICKLE);
    for form in ["weights/views.bin", "weights/views-legacy.bin"] {
        let whole = fs::read(golden(form)).expect("golden file");
        for round in 0..600 {
            let mut changed = whole.clone();
            match round % 3 {
                0 => changed.truncate(rng.below(whole.len())),
                _ => {
                    for _ in 0..=rng.below(4) {
                        let at = rng.below(changed.len());
                        changed[at] = rng.below(256) as u8;
                    }
                }
            }
            fs::write(&path, &changed).expect("write");
            let Ok(mut files) = Files::single(&path) else {
                continue;
            };
            let places: Vec<_> = files
                .tensors
                .iter()
                .map(|(name, place)| (name.clone(), place.stored.clone()))
                .collect();
            for (name, stored) in places {
                let count: usize = stored.shape.iter().product();
                assert!(count <= whole.len(), "{form}: {name}: {:?}", stored.shape);
                let taken = files.take(&name, &stored.shape, &Device::Cpu);
                assert!(taken.is_ok() || matches!(stored.element, Element::Other(_)));
            }
        }
    }
}
