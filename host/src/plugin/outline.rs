//! What a component's bytes tell about it before anything is compiled: names,
//! and how much there is to put together.

use wasmparser::{
    Chunk, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Parser, Payload,
};

/// Names of imports and exports are cut off behind this.
const NAME_BYTES_MAX: usize = 256;

/// What a component's bytes tell before they are known to be valid.
pub(super) struct Outline {
    /// Names of the component's own imports and exports.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// Whether it makes instances of components that are not in it.
    pub instantiates_unknown: bool,
    /// What compiling has to put together: items of all components and their
    /// instances, each as often as it is there.
    pub parts: u64,
}

/// A component while its sections are read.
#[derive(Default)]
struct Frame {
    /// Modules have no items that count here, and no index among components.
    is_module: bool,
    /// Parts of each component that it can instantiate; `None` for imported ones.
    components: Vec<Option<u64>>,
    parts: u64,
}

/// Reads a component without looking into the code of its modules.
///
/// # Errors
/// The bytes are no component.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, wasmparser::BinaryReaderError> {
    let mut outline = Outline {
        imports: Vec::new(),
        exports: Vec::new(),
        instantiates_unknown: false,
        parts: 0,
    };
    let mut parser = Parser::new(0);
    let mut outer: Vec<Parser> = Vec::new();
    // The innermost component or module comes last.
    let mut frames = vec![Frame::default()];
    let mut rest = bytes;
    loop {
        let (payload, consumed) = match parser.parse(rest, true)? {
            Chunk::Parsed { payload, consumed } => (payload, consumed),
            Chunk::NeedMoreData(_) => unreachable!("it was told that there is no more"),
        };
        rest = &rest[consumed..];
        let at = frames.len() - 1;
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    if matches!(import.ty, ComponentTypeRef::Component(_)) {
                        frames[at].components.push(None);
                    }
                    if outer.is_empty() {
                        outline.imports.push(plain(import.name.name));
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    // An export has an index of its own.
                    if export.kind == ComponentExternalKind::Component {
                        let exported = frames[at].components.get(export.index as usize);
                        let exported = exported.copied().flatten();
                        frames[at].components.push(exported);
                    }
                    if outer.is_empty() {
                        outline.exports.push(plain(export.name.name));
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                frames[at].add(u64::from(section.count()));
                for alias in section {
                    let aliased = match alias? {
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::Component,
                            count,
                            index,
                        } => at
                            .checked_sub(count as usize)
                            .and_then(|frame| frames[frame].components.get(index as usize))
                            .copied()
                            .flatten(),
                        ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Component,
                            ..
                        } => None,
                        _ => continue,
                    };
                    frames[at].components.push(aliased);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                frames[at].add(u64::from(section.count()));
                for instance in section {
                    if let ComponentInstance::Instantiate {
                        component_index, ..
                    } = instance?
                    {
                        let known = frames[at].components.get(component_index as usize);
                        match known.copied().flatten() {
                            Some(parts) => frames[at].add(parts),
                            None => outline.instantiates_unknown = true,
                        }
                    }
                }
            }
            Payload::InstanceSection(section) => frames[at].add(u64::from(section.count())),
            Payload::ComponentCanonicalSection(section) => {
                frames[at].add(u64::from(section.count()));
            }
            Payload::CodeSectionStart { size, .. } => {
                parser.skip_section();
                rest = rest.get(size as usize..).unwrap_or_default();
            }
            Payload::ModuleSection { parser: inner, .. } => {
                outer.push(std::mem::replace(&mut parser, inner));
                frames.push(Frame {
                    is_module: true,
                    ..Frame::default()
                });
            }
            Payload::ComponentSection { parser: inner, .. } => {
                outer.push(std::mem::replace(&mut parser, inner));
                frames.push(Frame::default());
            }
            Payload::End(_) => {
                let done = frames.pop().unwrap_or_default();
                let Some(above) = outer.pop() else {
                    outline.parts = done.parts;
                    return Ok(outline);
                };
                parser = above;
                if let Some(frame) = frames.last_mut().filter(|_| !done.is_module) {
                    frame.components.push(Some(done.parts));
                }
            }
            _ => {}
        }
    }
}

impl Frame {
    fn add(&mut self, parts: u64) {
        self.parts = self.parts.saturating_add(parts);
    }
}

/// A name as it is, if it is one: what isn't has not been refused yet, and
/// could rewrite the terminal.
fn plain(name: &str) -> String {
    let end = name.floor_char_boundary(NAME_BYTES_MAX);
    name[..end].escape_debug().to_string()
}
