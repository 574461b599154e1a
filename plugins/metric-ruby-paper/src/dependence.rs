//! Program dependence graphs (Ferrante, Ottenstein and Warren 1987,
//! <https://doi.org/10.1145/24039.24041>) of texts that parse, and their similarity GRS.
//!
//! A vertex is a statement, or what decides in one: a condition, the head of a loop, a case, a
//! handler, the head of a procedure. Names of variables are not part of it, the edges are: so two
//! programs that differ in names alone have equal graphs.

use crate::control::{ALWAYS, CASE, ENTRY, EXIT, Effects, FALSE, Flow, Successor, TRUE};
use crate::graph::{Dependence, Graph};
use crate::graph_distance::graph_distance;
use crate::languages::{Case, Form, Jump, Role, Rules};
use crate::numbers::Numbers;
use crate::syntax::Syntax;

/// Statements inside of each other, at most: each takes some of a component's stack.
const DEPTH_MAX: usize = 100;

/// Levels of a syntax tree, at most: a name's role is looked for upwards.
const LEVELS_MAX: usize = 1_000;

/// Vertices of a graph, at most: tables have their square.
const VERTICES_MAX: usize = 1_000;

/// A similarity, and whether the distance in it is known to be the smallest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// 0..1
    pub value: f64,
    /// Otherwise the value is a lower bound.
    pub exact: bool,
}

/// `1 − GED / (size + size)`: GED the fewest insertions, deletions and relabellings of vertices
/// and edges, sizes in vertices and edges. 1 for two empty graphs.
#[must_use]
pub fn similarity(a: &Graph, b: &Graph) -> Similarity {
    let size = a.size() + b.size();
    if size == 0 {
        return Similarity {
            value: 1.0,
            exact: true,
        };
    }
    let distance = graph_distance(a, b);
    Similarity {
        value: 1.0 - f64::from(distance.edits) / size as f64,
        exact: distance.exact,
    }
}

/// The graph of a program: those of its procedures side by side, each below the vertex of its
/// head. `None` if there is a statement whose flow is not known (`goto`), or too much of it.
#[must_use]
pub fn graph(syntax: &Syntax<'_>, rules: &dyn Rules) -> Option<Graph> {
    if syntax.depth > LEVELS_MAX {
        return None;
    }
    let mut builder = Builder {
        syntax,
        rules,
        vertices: Vec::new(),
        names: Numbers::default(),
        met_in: Vec::new(),
        edges: Vec::new(),
        waiting: vec![(None, vec![0])],
    };
    while let Some((head, body)) = builder.waiting.pop() {
        builder.procedure(head, &body)?;
    }
    Some(builder.finish())
}

/// Ways that wait for the node they lead to.
type Ways = Vec<Successor>;

/// A vertex before its label is known.
struct Vertex<'a> {
    tag: &'static str,
    tokens: Vec<Token<'a>>,
    /// Its names in order of their numbers, and the place of each among them by first occurrence.
    names: Vec<(u32, u32)>,
}

impl Vertex<'_> {
    /// The place of a name; behind the last one's if it isn't here.
    fn place(&self, name: u32) -> u32 {
        let found = self.names.binary_search_by_key(&name, |(name, _)| *name);
        found.map_or(self.names.len() as u32, |at| self.names[at].1)
    }
}

struct Token<'a> {
    text: &'a str,
    /// What a name does, and its number.
    name: Option<(Role, u32)>,
}

struct Builder<'s, 'a> {
    syntax: &'s Syntax<'a>,
    rules: &'s dyn Rules,
    vertices: Vec<Vertex<'a>>,
    names: Numbers,
    /// By name: the vertex it was met in last.
    met_in: Vec<usize>,
    edges: Vec<(u32, u32, Dependence)>,
    /// Procedures to come: the vertex of the head, and the statements.
    waiting: Vec<(Option<u32>, Vec<u32>)>,
}

/// What a jump may leave or repeat.
enum Scope<'a> {
    Loop {
        labels: Vec<&'a str>,
        breaks: Ways,
        continues: Ways,
    },
    Choice {
        breaks: Ways,
    },
    Labelled {
        label: &'a str,
        breaks: Ways,
    },
    Try {
        throws: Ways,
    },
}

/// A procedure whose flow is being drawn.
struct Procedure<'a> {
    flow: Flow,
    /// By node of the flow; the program as a whole has no head.
    vertices: Vec<Option<u32>>,
    scopes: Vec<Scope<'a>>,
    /// Labels of the statement that comes next.
    labels: Vec<&'a str>,
    depth: usize,
}

impl<'a> Builder<'_, 'a> {
    fn procedure(&mut self, head: Option<u32>, body: &[u32]) -> Option<()> {
        let mut procedure = Procedure {
            flow: Flow::default(),
            vertices: vec![head, None],
            scopes: Vec::new(),
            labels: Vec::new(),
            depth: 0,
        };
        if let Some(head) = head {
            let parameters = self.effects(head, |role| role == Role::Parameter);
            procedure.flow.effects[ENTRY as usize] = parameters;
        }
        let ways = self.statements(&mut procedure, body, vec![(ENTRY, ALWAYS)])?;
        connect(&mut procedure.flow, ways, EXIT);
        for (node, decider, branch) in procedure.flow.control_dependences() {
            let ends = (
                procedure.vertices[decider as usize],
                procedure.vertices[node as usize],
            );
            if let (Some(from), Some(to)) = ends {
                self.edges.push((from, to, Dependence::Control(branch)));
            }
        }
        for (reader, setter, variable) in procedure.flow.data_dependences() {
            let ends = (
                procedure.vertices[setter as usize],
                procedure.vertices[reader as usize],
            );
            if let (Some(from), Some(to)) = ends {
                let place = |vertex: u32| self.vertices[vertex as usize].place(variable);
                let label = Dependence::Data(place(from), place(to));
                self.edges.push((from, to, label));
            }
        }
        Some(())
    }

    /// What a vertex does to variables, by its names with the roles that are wanted.
    fn effects(&self, vertex: u32, wanted: impl Fn(Role) -> bool) -> Effects {
        let tokens = self.vertices[vertex as usize].tokens.iter();
        let names = tokens.filter_map(|token| token.name);
        let is_bound = |(role, _): &(Role, u32)| *role == Role::Bound;
        let mut bound: Vec<u32> = names
            .clone()
            .filter(is_bound)
            .map(|(_, name)| name)
            .collect();
        bound.sort_unstable();
        let mut effects = Effects::default();
        for (role, name) in names.filter(|(role, _)| wanted(*role)) {
            if bound.binary_search(&name).is_ok() {
                continue;
            }
            if matches!(role, Role::Use | Role::Update | Role::Change) {
                effects.uses.push(name);
            }
            if matches!(
                role,
                Role::Define | Role::Update | Role::Change | Role::Parameter
            ) {
                effects.defines.push((name, role != Role::Change));
            }
        }
        effects.uses.sort_unstable();
        effects.uses.dedup();
        // Where a name is set and changed, it is set.
        effects
            .defines
            .sort_unstable_by_key(|&(name, hides)| (name, !hides));
        effects.defines.dedup_by_key(|(name, _)| *name);
        effects
    }

    /// A vertex, and its node behind the ways to it.
    fn vertex(
        &mut self,
        procedure: &mut Procedure<'a>,
        tag: &'static str,
        own: &[u32],
        ways: Ways,
    ) -> Option<u32> {
        if self.vertices.len() == VERTICES_MAX {
            return None;
        }
        let mut vertex = Vertex {
            tag,
            tokens: Vec::new(),
            names: Vec::new(),
        };
        for &part in own {
            for leaf in self.syntax.leaves(part) {
                let text = self.syntax.text(leaf);
                let role = self.rules.role(self.syntax, leaf);
                let name = role.map(|role| (role, self.names.of(text)));
                if let Some((_, name)) = name
                    && self.is_new(name)
                {
                    vertex.names.push((name, vertex.names.len() as u32));
                }
                if !matches!(text, ";" | "") {
                    vertex.tokens.push(Token { text, name });
                }
            }
        }
        vertex.names.sort_unstable();
        self.vertices.push(vertex);
        let vertex = self.vertices.len() as u32 - 1;
        let effects = self.effects(vertex, |role| role != Role::Parameter);
        let node = procedure.flow.add(effects);
        procedure.vertices.push(Some(vertex));
        connect(&mut procedure.flow, ways, node);
        Some(node)
    }

    /// Whether the vertex that comes next meets a name for the first time.
    fn is_new(&mut self, name: u32) -> bool {
        let next = self.vertices.len();
        if name as usize >= self.met_in.len() {
            self.met_in.resize(self.names.count(), usize::MAX);
        }
        std::mem::replace(&mut self.met_in[name as usize], next) != next
    }

    fn statements(
        &mut self,
        procedure: &mut Procedure<'a>,
        list: &[u32],
        mut ways: Ways,
    ) -> Option<Ways> {
        for &statement in list {
            ways = self.statement(procedure, statement, ways)?;
        }
        Some(ways)
    }

    /// Draws a statement behind the ways to it; the ways that lead on from it.
    fn statement(&mut self, procedure: &mut Procedure<'a>, node: u32, ways: Ways) -> Option<Ways> {
        if procedure.depth == DEPTH_MAX {
            return None;
        }
        procedure.depth += 1;
        let labels = std::mem::take(&mut procedure.labels);
        let form = self.rules.form(self.syntax, node);
        let ways = self.form(procedure, node, form, labels, ways)?;
        procedure.depth -= 1;
        Some(ways)
    }

    fn form(
        &mut self,
        procedure: &mut Procedure<'a>,
        node: u32,
        form: Form,
        labels: Vec<&'a str>,
        ways: Ways,
    ) -> Option<Ways> {
        let kind = self.syntax.kind(node);
        match form {
            Form::Nothing => Some(ways),
            Form::Block(list) => self.statements(procedure, &list, ways),
            Form::Plain(own) => {
                let node = self.vertex(procedure, "", &own, ways)?;
                Some(vec![(node, ALWAYS)])
            }
            Form::Definition { own, body } => {
                let node = self.vertex(procedure, kind, &own, ways)?;
                self.waiting.push((procedure.vertices[node as usize], body));
                Some(vec![(node, ALWAYS)])
            }
            Form::Jump(own, jump) => {
                let node = self.vertex(procedure, "", &own, ways)?;
                self.jump(procedure, jump, (node, ALWAYS));
                Some(Vec::new())
            }
            Form::If {
                own,
                then,
                otherwise,
            } => {
                let node = self.vertex(procedure, "if", &own, ways)?;
                let mut ways = self.statements(procedure, &then, vec![(node, TRUE)])?;
                ways.extend(self.statements(procedure, &otherwise, vec![(node, FALSE)])?);
                Some(ways)
            }
            Form::Loop {
                before,
                own,
                body,
                update,
                otherwise,
                body_first,
            } => {
                let ways = self.statements(procedure, &before, ways)?;
                let (to_test, mut to_body) = if body_first {
                    (Vec::new(), ways)
                } else {
                    (ways, Vec::new())
                };
                let test = self.vertex(procedure, kind, &own, to_test)?;
                to_body.push((test, TRUE));
                procedure.scopes.push(Scope::Loop {
                    labels,
                    breaks: Vec::new(),
                    continues: Vec::new(),
                });
                let mut around = self.statements(procedure, &body, to_body)?;
                let Some(Scope::Loop {
                    breaks, continues, ..
                }) = procedure.scopes.pop()
                else {
                    unreachable!("scopes are closed where they are opened");
                };
                around.extend(continues);
                let around = self.statements(procedure, &update, around)?;
                connect(&mut procedure.flow, around, test);
                let mut ways = self.statements(procedure, &otherwise, vec![(test, FALSE)])?;
                ways.extend(breaks);
                Some(ways)
            }
            Form::Choice {
                own,
                cases,
                falls_through,
                breakable,
            } => {
                let node = self.vertex(procedure, kind, &own, ways)?;
                if breakable {
                    procedure.scopes.push(Scope::Choice { breaks: Vec::new() });
                }
                let (mut out, mut fallen) = (Vec::new(), Vec::new());
                let complete = cases.iter().any(|case| case.default);
                for case in &cases {
                    let start = self.case(procedure, case, vec![(node, CASE)])?;
                    fallen.push((start, ALWAYS));
                    let ways =
                        self.statements(procedure, &case.body, std::mem::take(&mut fallen))?;
                    if falls_through { &mut fallen } else { &mut out }.extend(ways);
                }
                out.extend(fallen);
                if !complete {
                    out.push((node, FALSE));
                }
                if breakable && let Some(Scope::Choice { breaks }) = procedure.scopes.pop() {
                    out.extend(breaks);
                }
                Some(out)
            }
            Form::Try {
                own,
                body,
                handlers,
                otherwise,
                finally,
            } => {
                let node = self.vertex(procedure, kind, &own, ways)?;
                let mut throws = Vec::new();
                let caught = !handlers.is_empty();
                if caught {
                    procedure.scopes.push(Scope::Try { throws: Vec::new() });
                }
                let ways = self.statements(procedure, &body, vec![(node, TRUE)])?;
                if caught && let Some(Scope::Try { throws: inside }) = procedure.scopes.pop() {
                    throws = inside;
                }
                let mut out = self.statements(procedure, &otherwise, ways)?;
                for handler in &handlers {
                    let mut ways = throws.clone();
                    ways.push((node, CASE));
                    let start = self.case(procedure, handler, ways)?;
                    out.extend(self.statements(procedure, &handler.body, vec![(start, ALWAYS)])?);
                }
                self.statements(procedure, &finally, out)
            }
            Form::Around { own, body } => {
                let node = self.vertex(procedure, kind, &own, ways)?;
                self.statements(procedure, &body, vec![(node, ALWAYS)])
            }
            Form::Labelled { label, body } => {
                let label = self.syntax.text(label);
                procedure.labels = labels;
                procedure.labels.push(label);
                procedure.scopes.push(Scope::Labelled {
                    label,
                    breaks: Vec::new(),
                });
                let mut ways = self.statements(procedure, &body, ways)?;
                if let Some(Scope::Labelled { breaks, .. }) = procedure.scopes.pop() {
                    ways.extend(breaks);
                }
                Some(ways)
            }
            Form::Unknown => None,
        }
    }

    fn case(&mut self, procedure: &mut Procedure<'a>, case: &Case, ways: Ways) -> Option<u32> {
        let tag = if case.default { "default" } else { "case" };
        self.vertex(procedure, tag, &case.own, ways)
    }

    /// Sends a way where a jump goes; out of the procedure if there is no such place.
    fn jump(&mut self, procedure: &mut Procedure<'a>, jump: Jump, way: Successor) {
        let text = |label: Option<u32>| label.map(|label| self.syntax.text(label));
        let target = match jump {
            Jump::Return => None,
            Jump::Throw => procedure
                .scopes
                .iter_mut()
                .rev()
                .find_map(|scope| match scope {
                    Scope::Try { throws } => Some(throws),
                    _ => None,
                }),
            Jump::Break(to) => {
                let to = text(to);
                procedure
                    .scopes
                    .iter_mut()
                    .rev()
                    .find_map(|scope| match scope {
                        Scope::Loop { breaks, .. } | Scope::Choice { breaks } if to.is_none() => {
                            Some(breaks)
                        }
                        Scope::Labelled { label, breaks } if to == Some(*label) => Some(breaks),
                        _ => None,
                    })
            }
            Jump::Continue(to) => {
                let to = text(to);
                procedure
                    .scopes
                    .iter_mut()
                    .rev()
                    .find_map(|scope| match scope {
                        Scope::Loop {
                            labels, continues, ..
                        } if to.is_none_or(|to| labels.contains(&to)) => Some(continues),
                        _ => None,
                    })
            }
        };
        match target {
            Some(ways) => ways.push(way),
            None => connect(&mut procedure.flow, vec![way], EXIT),
        }
    }

    /// Labels: the tag and the tokens, with a variable's number in place of its name.
    fn finish(mut self) -> Graph {
        let mut is_variable = vec![false; self.names.count()];
        let tokens = self.vertices.iter().flat_map(|vertex| &vertex.tokens);
        for (role, name) in tokens.filter_map(|token| token.name) {
            if matches!(
                role,
                Role::Define | Role::Update | Role::Parameter | Role::Bound
            ) {
                is_variable[name as usize] = true;
            }
        }
        let mut labels = Vec::with_capacity(self.vertices.len());
        for vertex in &self.vertices {
            let mut label = vertex.tag.to_owned();
            for token in &vertex.tokens {
                if !label.is_empty() {
                    label.push(' ');
                }
                match token.name {
                    Some((_, name)) if is_variable[name as usize] => {
                        label.push('$');
                        label.push_str(&vertex.place(name).to_string());
                    }
                    _ => label.push_str(token.text),
                }
            }
            labels.push(label);
        }
        self.edges.sort_unstable();
        self.edges.dedup();
        Graph {
            vertices: labels,
            edges: self.edges,
        }
    }
}

fn connect(flow: &mut Flow, ways: Ways, to: u32) {
    for (from, branch) in ways {
        flow.successors[from as usize].push((to, branch));
    }
}
