//! Reads pickles as `torch.save` writes them, and executes nothing.
//!
//! A pickle is a program for a stack machine that may call any function of Python. This machine
//! knows only the calls that a state dict needs ([`Class`]); whatever else a file asks for is
//! refused by name. Values lie in one flat list and refer to each other by number, so that
//! neither nesting nor cycles cost stack, and nothing is ever larger than the bytes that were
//! read: a length that the file claims is looked up, never allocated.
//!
//! Opcodes: CPython's `pickletools`, protocols 2 to 5.

use std::collections::HashMap;

/// Values that a pickle can make. A state dict needs about twenty for each tensor, and the
/// largest models have some ten thousand tensors.
const VALUES_MAX: usize = 4 << 20;
/// Dimensions of a tensor; weights have at most four.
const DIMENSIONS_MAX: usize = 8;
/// Arguments of a call; `_rebuild_tensor_v2` takes seven at most.
const ARGUMENTS_MAX: usize = 8;

/// Number of a value in [`Document::values`].
pub(super) type Id = u32;

/// Why a pickle was not read.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// It goes on where the bytes end.
    Cut,
    /// It asks for something that is not allowed.
    Refused(String),
    /// It is no pickle, or not of a state dict.
    Broken(String),
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Class {
    OrderedDict,
    Size,
    /// `_rebuild_tensor` and its second version: both begin with the same four arguments.
    RebuildTensor,
    RebuildParameter,
    Storage(Scalar),
}

/// Types of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Scalar {
    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

impl Class {
    fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", storage) => Self::Storage(match storage {
                "DoubleStorage" => Scalar::F64,
                "FloatStorage" => Scalar::F32,
                "HalfStorage" => Scalar::F16,
                "BFloat16Storage" => Scalar::BF16,
                "LongStorage" => Scalar::I64,
                "IntStorage" => Scalar::I32,
                "ShortStorage" => Scalar::I16,
                "CharStorage" => Scalar::I8,
                "ByteStorage" => Scalar::U8,
                "BoolStorage" => Scalar::Bool,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

/// Bytes outside the pickle that tensors look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    pub(super) scalar: Scalar,
    /// The name under which the container holds it.
    pub(super) key: &'a str,
    /// First element of the part that is meant; old files share storages in this way.
    pub(super) offset: usize,
    /// Elements of that part.
    pub(super) elements: usize,
}

/// A tensor: a look at a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    /// First element.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next, for each dimension.
    pub(super) strides: Vec<usize>,
}

/// A value; what it holds is named by numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits, little endian.
    Long(&'a [u8]),
    Float,
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Class(Class),
    Storage(Storage<'a>),
    Tensor(View<'a>),
}

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Long(_) => "an integer",
            Self::Float => "a number",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Class(_) => "a class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) values: Vec<Value<'a>>,
    root: Id,
    /// Byte after its last.
    pub(super) end: usize,
}

impl<'a> Document<'a> {
    /// Reads the pickle that begins at a byte of `input`.
    pub(super) fn read(input: &'a [u8], begin: usize) -> Result<Self, Fault> {
        let mut machine = Machine {
            input,
            at: begin,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        };
        let root = machine.run()?;
        Ok(Self {
            values: machine.values,
            root,
            end: machine.at,
        })
    }

    pub(super) fn root(&self) -> &Value<'a> {
        &self.values[self.root as usize]
    }

    pub(super) fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    /// The value of a key of the root, which is a dict.
    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        let Value::Dict(items) = self.root() else {
            return None;
        };
        let found = items
            .iter()
            .find(|(k, _)| matches!(self.value(*k), Value::Text(text) if *text == key));
        found.map(|(_, value)| self.value(*value))
    }

    /// The tensors of a state dict by name, in its order.
    pub(super) fn tensors(&self) -> Result<Vec<(&'a str, &View<'a>)>, Fault> {
        let Value::Dict(items) = self.root() else {
            return Err(Fault::Broken(format!(
                "holds {}, not a dict of tensors",
                self.root().kind()
            )));
        };
        let named = items.iter().map(|(key, value)| {
            let Value::Text(name) = self.value(*key) else {
                let kind = self.value(*key).kind();
                return Err(Fault::Broken(format!("a tensor is named by {kind}")));
            };
            match self.value(*value) {
                Value::Tensor(view) => Ok((*name, view)),
                other => Err(Fault::Broken(format!(
                    "is no dict of tensors: `{name}` is {}",
                    other.kind()
                ))),
            }
        });
        named.collect()
    }
}

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Values copied from lists into dicts.
    copied: usize,
}

fn broken<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(message.into()))
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, Fault> {
        loop {
            let op = self.byte()?;
            match op {
                b'.' => return self.pop(),
                // PROTO, FRAME: only say how the rest is laid out.
                0x80 => match self.byte()? {
                    2..=5 => {}
                    other => return broken(format!("is a pickle of protocol {other}")),
                },
                0x95 => drop(self.bytes(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.peek()?;
                    self.stack.push(top);
                }
                _ if self.constant(op)? || self.container(op)? || self.memory(op)? => {}
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.class(module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop_text()?, self.pop_text()?);
                    self.class(module, name)?;
                }
                // INST names its class in the text: it is refused by that name.
                b'i' => {
                    let (module, name) = (self.line()?, self.line()?);
                    return Err(Fault::Refused(format!("{module}.{name}")));
                }
                b'Q' => self.persistent()?,
                b'R' => self.call()?,
                b'b' => self.build()?,
                other => {
                    return broken(format!(
                        "byte {}: opcode {other:#04x} has no place in a state dict",
                        self.at - 1
                    ));
                }
            }
        }
    }

    /// Opcodes that push a constant.
    fn constant(&mut self, op: u8) -> Result<bool, Fault> {
        let value = match op {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a | 0x8b => {
                let length = match op {
                    0x8a => self.byte()?.into(),
                    _ => self.length4()?,
                };
                let digits = self.bytes(length)?;
                match long(digits) {
                    Some(n) => Value::Int(n),
                    None => Value::Long(digits),
                }
            }
            b'G' => {
                self.bytes(8)?;
                Value::Float
            }
            b'X' | b'T' | 0x8c | b'U' => {
                let length = match op {
                    b'X' | b'T' => self.length4()?,
                    _ => self.byte()?.into(),
                };
                match std::str::from_utf8(self.bytes(length)?) {
                    Ok(text) => Value::Text(text),
                    Err(_) => return broken("holds a text that is not UTF-8"),
                }
            }
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    /// Opcodes that make and fill tuples, lists and dicts.
    fn container(&mut self, op: u8) -> Result<bool, Fault> {
        match op {
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x85..=op {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.list()?.extend(items);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            b'u' => {
                let items = self.pop_mark()?;
                if items.len() % 2 != 0 {
                    return broken("fills a dict with a key that has no value");
                }
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                self.dict()?.extend(pairs);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that remember a value and bring it back.
    fn memory(&mut self, op: u8) -> Result<bool, Fault> {
        match op {
            b'q' | b'r' | 0x94 => {
                let slot = match op {
                    b'q' => self.byte()?.into(),
                    b'r' => u32::from_le_bytes(self.array()?),
                    _ => self.memo.len() as u32,
                };
                let top = self.peek()?;
                self.memo.insert(slot, top);
            }
            b'h' | b'j' => {
                let slot = match op {
                    b'h' => self.byte()?.into(),
                    _ => u32::from_le_bytes(self.array()?),
                };
                match self.memo.get(&slot) {
                    Some(id) => self.stack.push(*id),
                    None => {
                        return broken(format!("asks for the value {slot}, which it never made"));
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn class(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        match Class::named(module, name) {
            Some(class) => self.push(Value::Class(class)),
            None => Err(Fault::Refused(format!("{module}.{name}"))),
        }
    }

    /// BINPERSID: `("storage", class, key, device, elements[, view])`.
    fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let Value::Tuple(items) = &self.values[id as usize] else {
            let kind = self.values[id as usize].kind();
            return broken(format!("names a storage by {kind}"));
        };
        let at = |i: usize| items.get(i).map(|id| &self.values[*id as usize]);
        let (
            Some(Value::Text("storage")),
            Some(Value::Class(Class::Storage(scalar))),
            Some(Value::Text(key)),
            Some(Value::Text(_)),
            Some(Value::Int(elements)),
        ) = (at(0), at(1), at(2), at(3), at(4))
        else {
            return broken("names something else than a storage outside the pickle");
        };
        let mut storage = Storage {
            scalar: *scalar,
            key,
            offset: 0,
            elements: size(*elements)?,
        };
        match at(5) {
            None | Some(Value::None) => {}
            // (key, offset, elements) of a part of the storage.
            Some(Value::Tuple(view)) => {
                let [_, offset, elements] = view[..] else {
                    return broken("names a part of a storage in another form than torch's");
                };
                storage.offset = self.integer(offset)?;
                storage.elements = self.integer(elements)?;
            }
            Some(other) => return broken(format!("names a part of a storage by {}", other.kind())),
        }
        self.push(Value::Storage(storage))
    }

    /// REDUCE: what of Python's calls a state dict needs.
    fn call(&mut self) -> Result<(), Fault> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = match &self.values[arguments as usize] {
            Value::Tuple(items) if items.len() <= ARGUMENTS_MAX => items.clone(),
            _ => return broken("calls something without a short tuple of arguments"),
        };
        let Value::Class(class) = self.values[function as usize] else {
            let kind = self.values[function as usize].kind();
            return broken(format!("calls {kind}"));
        };
        match (class, &arguments[..]) {
            (Class::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            // A list of pairs, as Python 2 wrote it.
            (Class::OrderedDict, [list]) => {
                let Value::List(pairs) = &self.values[*list as usize] else {
                    return broken("fills a dict from something else than a list");
                };
                // The one call that copies as much as it is given, as often as it is asked.
                self.copied += pairs.len();
                if self.copied > VALUES_MAX {
                    return broken(format!("copies more than {VALUES_MAX} values"));
                }
                let mut items = Vec::new();
                for pair in pairs {
                    match &self.values[*pair as usize] {
                        Value::Tuple(pair) | Value::List(pair) if pair.len() == 2 => {
                            items.push((pair[0], pair[1]));
                        }
                        _ => return broken("fills a dict from a list of other things than pairs"),
                    }
                }
                self.push(Value::Dict(items))
            }
            (Class::Size | Class::RebuildParameter, [first, ..]) => {
                self.stack.push(*first);
                Ok(())
            }
            (Class::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.values[*storage as usize].clone() else {
                    return broken("makes a tensor without a storage");
                };
                let view = View {
                    storage,
                    offset: self.integer(*offset)?,
                    shape: self.integers(*shape)?,
                    strides: self.integers(*strides)?,
                };
                view.check()?;
                self.push(Value::Tensor(view))
            }
            (Class::Storage(_), _) => broken("makes a storage inside the pickle"),
            _ => broken("calls a function with the wrong number of arguments"),
        }
    }

    /// BUILD: sets attributes. An ordered dict has one, `_metadata` (versions of the modules),
    /// which nobody needs.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop()?;
        match &self.values[self.peek()? as usize] {
            Value::Dict(_) => Ok(()),
            other => broken(format!("sets attributes of {}", other.kind())),
        }
    }

    fn integer(&self, id: Id) -> Result<usize, Fault> {
        match &self.values[id as usize] {
            Value::Int(n) => size(*n),
            other => broken(format!("has {} where a size belongs", other.kind())),
        }
    }

    fn integers(&self, id: Id) -> Result<Vec<usize>, Fault> {
        match &self.values[id as usize] {
            Value::Tuple(items) | Value::List(items) if items.len() <= DIMENSIONS_MAX => {
                items.iter().map(|id| self.integer(*id)).collect()
            }
            Value::Tuple(items) | Value::List(items) => {
                broken(format!("has a tensor of {} dimensions", items.len()))
            }
            other => broken(format!("has {} where a shape belongs", other.kind())),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), Fault> {
        if self.values.len() >= VALUES_MAX {
            return broken(format!("makes more than {VALUES_MAX} values"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    /// Height below which the stack belongs to an open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn peek(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => broken("takes a value where there is none"),
        }
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let top = self.peek()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => broken("takes values up to a mark where there is none"),
        }
    }

    fn pop_text(&mut self) -> Result<&'a str, Fault> {
        let id = self.pop()?;
        match &self.values[id as usize] {
            Value::Text(text) => Ok(text),
            other => broken(format!("names a class by {}", other.kind())),
        }
    }

    fn list(&mut self) -> Result<&mut Vec<Id>, Fault> {
        let top = self.peek()?;
        match &mut self.values[top as usize] {
            Value::List(items) => Ok(items),
            other => broken(format!("appends to {}", other.kind())),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Id, Id)>, Fault> {
        let top = self.peek()?;
        match &mut self.values[top as usize] {
            Value::Dict(items) => Ok(items),
            other => broken(format!("sets an item of {}", other.kind())),
        }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(Fault::Cut)?;
        let bytes = self.input.get(self.at..end).ok_or(Fault::Cut)?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.bytes(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("as many bytes as asked for"))
    }

    fn length4(&mut self) -> Result<usize, Fault> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| *b == b'\n').ok_or(Fault::Cut)?;
        let line = self.bytes(length)?;
        self.at += 1;
        std::str::from_utf8(line).or_else(|_| broken("names a class that is not UTF-8"))
    }
}

impl View<'_> {
    /// The look stays within its storage, and sees no element twice: a storage of one element
    /// could otherwise claim any size.
    fn check(&self) -> Result<(), Fault> {
        if self.shape.len() != self.strides.len() {
            return broken("has a tensor with more or fewer strides than dimensions");
        }
        let count = self
            .shape
            .iter()
            .try_fold(1usize, |product, n| product.checked_mul(*n));
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |last, (n, stride)| {
                last.checked_add(n.saturating_sub(1).checked_mul(*stride)?)
            });
        match (count, last) {
            (Some(0), _) => Ok(()),
            (Some(count), Some(last))
                if last < self.storage.elements && count <= self.storage.elements =>
            {
                Ok(())
            }
            _ => broken(format!(
                "has a tensor of shape {:?} on a storage of {} elements",
                self.shape, self.storage.elements
            )),
        }
    }

    /// Whether each element follows the one before it in memory.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape
            .iter()
            .zip(&self.strides)
            .rev()
            .all(|(n, stride)| {
                let follows = *n == 1 || *stride == expected;
                expected = usize::wrapping_mul(expected, *n);
                follows
            })
    }
}

fn size(n: i64) -> Result<usize, Fault> {
    usize::try_from(n).or_else(|_| broken(format!("has a size of {n}")))
}

/// A little-endian integer in two's complement, if it has at most 64 bits.
fn long(digits: &[u8]) -> Option<i64> {
    if digits.len() > 8 {
        return None;
    }
    let negative = digits.last().is_some_and(|top| top & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..digits.len()].copy_from_slice(digits);
    Some(i64::from_le_bytes(all))
}
