//! Is a later version of the contract a superset of an earlier one?
//!
//! A component says in its binary, type by type, what it exports and what it
//! imports. It goes on working if all of that is still there and unchanged.
//! Types are compared by structure; a named type is compared once, where it is
//! defined, and by name wherever it is used.

use std::fmt::Write as _;
use std::mem::discriminant;

use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner,
    World, WorldItem, WorldKey,
};

use super::contract::Contract;

/// What of `old` is missing from `new` or differs there, one line each. Empty
/// if components built against `old` keep working with `new`.
pub fn differences(old: &Contract, new: &Contract) -> Vec<String> {
    let mut comparison = Comparison {
        old: &old.resolve,
        new: &new.resolve,
        found: Vec::new(),
    };
    comparison.packages(old, new);
    comparison.found
}

struct Comparison<'a> {
    old: &'a Resolve,
    new: &'a Resolve,
    found: Vec<String>,
}

/// Whether names may come in later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    Open,
    /// A name of the newer version only is a difference, for this reason, which
    /// may be none.
    Closed(&'static str),
}

impl Comparison<'_> {
    fn differs(&mut self, place: &str, what: &str) {
        self.found.push(format!("{place}: {what}"));
    }

    fn packages(&mut self, old: &Contract, new: &Contract) {
        let before = &self.old.packages[old.package];
        let after = &self.new.packages[new.package];
        let name = |name: &wit_parser::PackageName| format!("{}:{}", name.namespace, name.name);
        if name(&before.name) != name(&after.name) {
            let what = format!("is `{}`, was `{}`", name(&after.name), name(&before.name));
            return self.differs("package", &what);
        }
        for (name, &id) in &before.interfaces {
            let place = format!("interface {name}");
            match after.interfaces.get(name) {
                Some(&found) => self.interfaces(&place, id, found),
                None => self.differs(&place, "is missing"),
            }
        }
        for (name, &id) in &before.worlds {
            let place = format!("world {name}");
            match after.worlds.get(name) {
                Some(&found) => self.worlds(&place, &self.old.worlds[id], &self.new.worlds[found]),
                None => self.differs(&place, "is missing"),
            }
        }
    }

    fn interfaces(&mut self, place: &str, old: InterfaceId, new: InterfaceId) {
        let (before, after) = (&self.old.interfaces[old], &self.new.interfaces[new]);
        for (name, &id) in &before.types {
            match after.types.get(name) {
                Some(&found) => self.definitions(place, name, id, found),
                None => {
                    let kind = self.old.types[id].kind.as_str();
                    self.differs(place, &format!("{kind} `{name}` is missing"));
                }
            }
        }
        for (name, function) in &before.functions {
            let (inside, kind) = function_place(self.old, place, function);
            match after.functions.get(name) {
                Some(found) => {
                    let place = format!("{inside}, {kind} {}", function.item_name());
                    self.functions(&place, function, found);
                }
                None => {
                    let what = format!("{kind} `{}` is missing", function.item_name());
                    self.differs(&inside, &what);
                }
            }
        }
    }

    /// A plugin may import less than its world offers, and exports all of it:
    /// the world may gain imports and no exports.
    fn worlds(&mut self, place: &str, old: &World, new: &World) {
        let closed = Growth::Closed(": plugins of the older version don't have it");
        for (direction, before, after, growth) in [
            ("import", &old.imports, &new.imports, Growth::Open),
            ("export", &old.exports, &new.exports, closed),
        ] {
            let old_names: Vec<String> = before.keys().map(|key| key_name(self.old, key)).collect();
            let new_names: Vec<String> = after.keys().map(|key| key_name(self.new, key)).collect();
            self.names(place, direction, &old_names, &new_names, growth);
            for (name, item) in old_names.iter().zip(before.values()) {
                if let Some(at) = new_names.iter().position(|found| found == name) {
                    self.world_items(&format!("{place}, {direction}"), name, item, &after[at]);
                }
            }
        }
    }

    fn world_items(&mut self, place: &str, name: &str, old: &WorldItem, new: &WorldItem) {
        match (old, new) {
            (WorldItem::Interface { id: before, .. }, WorldItem::Interface { id: after, .. }) => {
                // A named interface is compared where it is defined.
                if self.old.interfaces[*before].name.is_none() {
                    self.interfaces(&format!("{place} {name}"), *before, *after);
                }
            }
            (WorldItem::Function(before), WorldItem::Function(after)) => {
                self.functions(&format!("{place} {name}"), before, after);
            }
            (WorldItem::Type { id: before, .. }, WorldItem::Type { id: after, .. }) => {
                self.definitions(place, name, *before, *after);
            }
            _ => {
                let kind = |item: &WorldItem| match item {
                    WorldItem::Interface { .. } => "an interface",
                    WorldItem::Function(_) => "a function",
                    WorldItem::Type { .. } => "a type",
                };
                let what = format!("is {}, was {}", kind(new), kind(old));
                self.differs(&format!("{place} {name}"), &what);
            }
        }
    }

    fn functions(&mut self, place: &str, old: &Function, new: &Function) {
        if discriminant(&old.kind) != discriminant(&new.kind) {
            let what = format!("is {}, was {}", kind_name(&new.kind), kind_name(&old.kind));
            return self.differs(place, &what);
        }
        let names = |function: &Function| -> Vec<String> {
            function
                .params
                .iter()
                .map(|param| param.name.clone())
                .collect()
        };
        let closed = Growth::Closed("");
        self.names(place, "parameter", &names(old), &names(new), closed);
        for before in &old.params {
            if let Some(after) = new.params.iter().find(|param| param.name == before.name) {
                let what = format!("parameter `{}`", before.name);
                self.types(place, &what, Some(before.ty), Some(after.ty));
            }
        }
        self.types(place, "result", old.result, new.result);
    }

    fn definitions(&mut self, place: &str, name: &str, old: TypeId, new: TypeId) {
        let (before, after) = (
            resolved(self.old, Type::Id(old)),
            resolved(self.new, Type::Id(new)),
        );
        let (Type::Id(before_id), Type::Id(after_id)) = (before, after) else {
            return self.types(place, &format!("type `{name}`"), Some(before), Some(after));
        };
        // What `use` brings in is compared where it is defined.
        if before_id != old && origin(self.old, before_id) == origin(self.new, after_id) {
            return;
        }
        let (before, after) = (
            &self.old.types[before_id].kind,
            &self.new.types[after_id].kind,
        );
        if let (TypeDefKind::Resource, TypeDefKind::Resource) = (before, after) {
            let what = format!("resource `{name}`");
            let (before, after) = (Type::Id(before_id), Type::Id(after_id));
            return self.types(place, &what, Some(before), Some(after));
        }
        let kind = match parts(before) {
            Some(_) => before.as_str(),
            // What `type` defines.
            None => "type",
        };
        let place = format!("{place}, {kind} {name}");
        if discriminant(before) != discriminant(after) {
            let what = format!("is {}, was {}", a(after.as_str()), a(before.as_str()));
            return self.differs(&place, &what);
        }
        let noun = match before {
            TypeDefKind::Record(_) => "field",
            TypeDefKind::Flags(_) => "flag",
            _ => "case",
        };
        let (Some(old_parts), Some(new_parts)) = (parts(before), parts(after)) else {
            if !self.same_kinds(before, after) {
                let what = format!(
                    "is `{}`, was `{}`",
                    shape(self.new, after),
                    shape(self.old, before)
                );
                self.differs(&place, &what);
            }
            return;
        };
        let names = |parts: &[(&str, Option<Type>)]| -> Vec<String> {
            parts.iter().map(|(name, _)| (*name).to_owned()).collect()
        };
        let closed = Growth::Closed("");
        self.names(&place, noun, &names(&old_parts), &names(&new_parts), closed);
        for (name, before) in old_parts {
            if let Some((_, after)) = new_parts.iter().find(|(found, _)| *found == name) {
                self.types(&place, &format!("{noun} `{name}`"), before, *after);
            }
        }
    }

    /// Names that are missing, that came in where none may, or whose order changed.
    fn names(&mut self, place: &str, noun: &str, old: &[String], new: &[String], growth: Growth) {
        let before = self.found.len();
        for name in old.iter().filter(|name| !new.contains(name)) {
            self.differs(place, &format!("{noun} `{name}` is missing"));
        }
        let Growth::Closed(reason) = growth else {
            return;
        };
        for name in new.iter().filter(|name| !old.contains(name)) {
            self.differs(place, &format!("{noun} `{name}` was added{reason}"));
        }
        // The order of a world's exports means nothing; all else is by position.
        if self.found.len() == before && old != new && noun != "export" {
            let (new, old) = (new.join(", "), old.join(", "));
            self.differs(
                place,
                &format!("{noun}s are in the order {new}; were {old}"),
            );
        }
    }

    fn types(&mut self, place: &str, what: &str, old: Option<Type>, new: Option<Type>) {
        let same = match (old, new) {
            (None, None) => true,
            (Some(before), Some(after)) => self.same(before, after),
            _ => false,
        };
        if !same {
            let text = |resolve, ty: Option<Type>| match ty {
                Some(ty) => format!("`{}`", written(resolve, ty)),
                None => "none".to_owned(),
            };
            let what = format!(
                "{what} is {}, was {}",
                text(self.new, new),
                text(self.old, old)
            );
            self.differs(place, &what);
        }
    }

    fn same(&self, old: Type, new: Type) -> bool {
        match (resolved(self.old, old), resolved(self.new, new)) {
            (Type::Id(before), Type::Id(after)) => {
                let home = origin(self.old, before);
                // Equal names: a difference is reported where they are defined.
                (home.is_some() && home == origin(self.new, after))
                    || self.same_kinds(&self.old.types[before].kind, &self.new.types[after].kind)
            }
            (before, after) => before == after,
        }
    }

    fn same_option(&self, old: Option<Type>, new: Option<Type>) -> bool {
        match (old, new) {
            (None, None) => true,
            (Some(before), Some(after)) => self.same(before, after),
            _ => false,
        }
    }

    fn same_kinds(&self, old: &TypeDefKind, new: &TypeDefKind) -> bool {
        use TypeDefKind as Kind;
        match (old, new) {
            (Kind::Handle(Handle::Own(before)), Kind::Handle(Handle::Own(after)))
            | (Kind::Handle(Handle::Borrow(before)), Kind::Handle(Handle::Borrow(after))) => {
                self.same(Type::Id(*before), Type::Id(*after))
            }
            (Kind::Tuple(before), Kind::Tuple(after)) => {
                before.types.len() == after.types.len()
                    && (before.types.iter().zip(&after.types)).all(|(a, b)| self.same(*a, *b))
            }
            (Kind::Option(before), Kind::Option(after))
            | (Kind::List(before), Kind::List(after)) => self.same(*before, *after),
            (Kind::FixedLengthList(before, m), Kind::FixedLengthList(after, n)) => {
                m == n && self.same(*before, *after)
            }
            (Kind::Map(k, v), Kind::Map(l, w)) => self.same(*k, *l) && self.same(*v, *w),
            (Kind::Result(before), Kind::Result(after)) => {
                self.same_option(before.ok, after.ok) && self.same_option(before.err, after.err)
            }
            (Kind::Future(before), Kind::Future(after))
            | (Kind::Stream(before), Kind::Stream(after)) => self.same_option(*before, *after),
            // Resources of different names are two, whatever they can do.
            _ => match (parts(old), parts(new)) {
                (Some(before), Some(after)) => {
                    discriminant(old) == discriminant(new)
                        && before.len() == after.len()
                        && (before.iter().zip(&after))
                            .all(|(a, b)| a.0 == b.0 && self.same_option(a.1, b.1))
                }
                _ => false,
            },
        }
    }
}

/// Behind aliases and `use`.
fn resolved(resolve: &Resolve, mut ty: Type) -> Type {
    while let Type::Id(id) = ty
        && let TypeDefKind::Type(behind) = resolve.types[id].kind
    {
        ty = behind;
    }
    ty
}

/// Where a named type is defined, and its name: `types.error`. Names nothing
/// that has a version.
fn origin(resolve: &Resolve, id: TypeId) -> Option<String> {
    let definition = &resolve.types[id];
    let name = definition.name.as_ref()?;
    Some(match definition.owner {
        TypeOwner::Interface(owner) => match &resolve.interfaces[owner].name {
            Some(owner) => format!("{owner}.{name}"),
            None => name.clone(),
        },
        TypeOwner::World(owner) => format!("{}.{name}", resolve.worlds[owner].name),
        TypeOwner::None => name.clone(),
    })
}

/// Names and types that a definition is made of; `None` if it has no names.
fn parts(kind: &TypeDefKind) -> Option<Vec<(&str, Option<Type>)>> {
    Some(match kind {
        TypeDefKind::Record(record) => (record.fields.iter())
            .map(|field| (field.name.as_str(), Some(field.ty)))
            .collect(),
        TypeDefKind::Variant(variant) => (variant.cases.iter())
            .map(|case| (case.name.as_str(), case.ty))
            .collect(),
        TypeDefKind::Enum(cases) => (cases.cases.iter())
            .map(|case| (case.name.as_str(), None))
            .collect(),
        TypeDefKind::Flags(flags) => (flags.flags.iter())
            .map(|flag| (flag.name.as_str(), None))
            .collect(),
        _ => return None,
    })
}

/// A type as WIT has it, named ones with their interface.
fn written(resolve: &Resolve, ty: Type) -> String {
    match resolved(resolve, ty) {
        Type::Id(id) => {
            origin(resolve, id).unwrap_or_else(|| shape(resolve, &resolve.types[id].kind))
        }
        Type::ErrorContext => "error-context".to_owned(),
        primitive => format!("{primitive:?}").to_lowercase(),
    }
}

/// The structure of a type without a name.
fn shape(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let inner = |ty: &Type| written(resolve, *ty);
    let or_none = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), inner);
    match kind {
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", inner(&Type::Id(*id))),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", inner(&Type::Id(*id))),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<String> = tuple.types.iter().map(inner).collect();
            format!("tuple<{}>", types.join(", "))
        }
        TypeDefKind::Option(ty) => format!("option<{}>", inner(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", inner(ty)),
        TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", inner(ty)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", inner(key), inner(value)),
        TypeDefKind::Result(result) => {
            let mut text = format!("result<{}", or_none(&result.ok));
            if result.err.is_some() {
                let _ = write!(text, ", {}", or_none(&result.err));
            }
            text + ">"
        }
        TypeDefKind::Future(ty) => format!("future<{}>", or_none(ty)),
        TypeDefKind::Stream(ty) => format!("stream<{}>", or_none(ty)),
        named => named.as_str().to_owned(),
    }
}

fn key_name(resolve: &Resolve, key: &WorldKey) -> String {
    match key {
        WorldKey::Name(name) => name.clone(),
        WorldKey::Interface(id) => match &resolve.interfaces[*id].name {
            Some(name) => name.clone(),
            None => resolve.name_world_key(key),
        },
    }
}

/// Where a function belongs and what it is called there: methods to their resource.
fn function_place(
    resolve: &Resolve,
    interface: &str,
    function: &Function,
) -> (String, &'static str) {
    let kind = match function.kind {
        FunctionKind::Freestanding | FunctionKind::AsyncFreestanding => "function",
        FunctionKind::Method(_) | FunctionKind::AsyncMethod(_) => "method",
        FunctionKind::Static(_) | FunctionKind::AsyncStatic(_) => "static function",
        FunctionKind::Constructor(_) => "function",
    };
    match function.kind.resource() {
        Some(id) => {
            let resource = resolve.types[id].name.as_deref().unwrap_or_default();
            (format!("{interface}, resource {resource}"), kind)
        }
        None => (interface.to_owned(), kind),
    }
}

fn kind_name(kind: &FunctionKind) -> &'static str {
    if kind.is_async() {
        "asynchronous"
    } else {
        "synchronous"
    }
}

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests;
