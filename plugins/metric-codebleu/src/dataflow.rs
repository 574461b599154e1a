//! The data flow of a text: which variable's value comes from where
//! (`dataflow_match.py` and `parser/DFG.py` of codebleu).
//!
//! What a statement does to the flow is a matter of the language; its rules are
//! in `languages/`. Here is what the languages share: the state (where each name
//! was last set), branches and loops, and what happens to the edges afterwards.
//!
//! The reference recurses, copies the state at each node and sorts at each
//! level. The same comes out of one state that is changed in place, one sort at
//! the end, and a list of tasks in place of the recursion: a component has a
//! small stack. Only at branches is an older state needed again; a journal of
//! changes brings it back.

use rustc_hash::FxHashMap;

use crate::digest::Digest;
use crate::leaves::{Leaf, Leaves};
use crate::python_set;
use crate::tree::{Grammar, Tree};

/// Why a flow can't be followed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The reference raises an exception: the flow is empty.
    Raised,
    /// Following it takes more than [`STEPS_MAX`] steps.
    TooLong,
}

/// Steps that a flow may take. Loops inside loops are followed twice each, so
/// that every level doubles the time. Chosen: beyond it the reference takes
/// minutes, and a component would run out of fuel.
pub const STEPS_MAX: u64 = 4_000_000;

/// Levels of a tree down to which Python follows it. Deeper, it ends with a
/// `RecursionError`, and the flow is empty.
///
/// Measured with codebleu 0.7.0 on CPython 3.11, recursion limit 1000, where a
/// script calls a function that calls `calc_codebleu`. Each further call around
/// that one takes away a level.
pub const DEPTH_MAX: usize = 992;

/// What a language's statements do to the flow.
pub trait Rules {
    /// Schedules what a node that isn't a leaf does, in order.
    ///
    /// # Errors
    /// The reference raises an exception.
    fn expand(&self, node: u32, flow: &mut Flow<'_>) -> Result<(), Stop>;
}

/// A thing to do.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// Follow a subtree.
    Visit(u32),
    /// Every variable in `left` is computed from all variables in `right`.
    Compute {
        /// What is set.
        left: u32,
        /// What is read.
        right: u32,
    },
    /// Every variable in `left` has an edge from each variable in `right`, one for each pair.
    Pair {
        /// What is set.
        left: u32,
        /// What is read.
        right: u32,
        /// `computedFrom`, otherwise `comesFrom`.
        computed: bool,
    },
    /// Every variable in `name` comes from nowhere.
    Declare(u32),
    /// A statement with alternatives begins.
    BranchOpen,
    /// What follows continues the main alternative.
    BranchMain,
    /// What follows is an alternative of its own, from the state at the beginning.
    BranchOther,
    /// All alternatives' states are merged.
    BranchClose {
        /// Whether there is one more alternative that does nothing.
        or_nothing: bool,
    },
    /// A loop has been followed: equal edges since the number given become one.
    LoopClose(usize),
}

/// Names from which a value comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sources {
    None,
    One(u32),
    /// Place in `Flow::lists`.
    Many(u32),
    /// As many edges as the list at this place in `Flow::lists` is long, each from one of its
    /// names. An assignment pairs every name on its left with every name on its right.
    Each(u32),
}

/// An edge of the flow.
#[derive(Clone, Copy, Debug)]
struct Edge {
    /// The token whose value it is.
    number: u32,
    /// `computedFrom`, otherwise `comesFrom`.
    computed: bool,
    sources: Sources,
}

/// Tokens at which a name may have been set.
#[derive(Debug)]
enum Origin {
    Token(u32),
    /// Places in `Flow::origins`.
    AnyOf(Vec<u32>),
}

/// A name that isn't set.
const UNSET: u32 = u32::MAX;

/// Names that a branch has set, with their origins.
type Changes = Vec<(u32, u32)>;

#[derive(Debug)]
struct Branch {
    /// Length of the journal at the beginning.
    mark: usize,
    in_main: bool,
    main: Changes,
    others: Vec<Changes>,
}

/// A flow under construction.
pub struct Flow<'a> {
    /// The tree that is followed.
    pub tree: &'a Tree,
    /// Its grammar.
    pub grammar: &'a Grammar,
    leaves: Leaves<'a>,
    tasks: Vec<Task>,
    /// Tasks scheduled for the node at hand, in order.
    scheduled: Vec<Task>,
    steps: u64,

    edges: Vec<Edge>,
    lists: Vec<Vec<u32>>,
    /// Places of the lists of variables below nodes, once they are known.
    lists_of_nodes: FxHashMap<u32, u32>,
    merged: FxHashMap<(Sources, Sources), Sources>,
    hashes: Vec<Option<u64>>,
    /// Tokens that have a source or are one; edges of the others are dropped.
    connected: Vec<bool>,

    /// By name: place in `origins`, or `UNSET`.
    states: Vec<u32>,
    origins: Vec<Origin>,
    /// Whether the tokens of an origin are `connected` already.
    origin_connected: Vec<bool>,
    /// Names and what their states were before, while a branch is open.
    journal: Vec<(u32, u32)>,
    branches: Vec<Branch>,
    /// By edge and relation: where the last loop that was closed had it.
    loop_places: Vec<usize>,
}

impl<'a> Flow<'a> {
    /// Schedules a task behind those that the current node has scheduled already.
    pub fn schedule(&mut self, task: Task) {
        self.scheduled.push(task);
    }

    /// Schedules a subtree.
    pub fn visit(&mut self, node: u32) {
        self.schedule(Task::Visit(node));
    }

    /// Schedules all children of a node.
    pub fn visit_children(&mut self, node: u32) {
        for child in self.tree.children(node) {
            self.visit(child);
        }
    }

    /// Schedules what `left = right` does.
    pub fn compute(&mut self, left: u32, right: u32) {
        self.visit(right);
        self.schedule(Task::Compute { left, right });
    }

    /// Schedules what `left = right` does, element by element if both sides have as many, whole
    /// otherwise.
    ///
    /// Elements are the children but for commas, whatever the sides are: those of
    /// `a.b` are `a`, `.` and `b`.
    pub fn compute_by_elements(
        &mut self,
        left: u32,
        right: u32,
        is_comma: impl Fn(u32, &Self) -> bool,
    ) {
        let elements = |node: u32, flow: &Self| -> Vec<u32> {
            let children = flow.tree.children(node);
            children.filter(|&child| !is_comma(child, flow)).collect()
        };
        let (mut lefts, mut rights) = (elements(left, self), elements(right, self));
        if lefts.len() != rights.len() || lefts.is_empty() {
            (lefts, rights) = (vec![left], vec![right]);
        }
        for &right in &rights {
            self.visit(right);
        }
        for (left, right) in lefts.into_iter().zip(rights) {
            self.schedule(Task::Compute { left, right });
        }
    }

    /// Schedules the end of a loop that begins with the current node.
    pub fn close_loop(&mut self) {
        self.schedule(Task::LoopClose(self.edges.len()));
    }

    fn new(source: &'a str, tree: &'a Tree, grammar: &'a Grammar) -> Self {
        let leaves = Leaves::new(source, tree, grammar);
        let (numbers, names) = (leaves.count(), leaves.names().len());
        Self {
            tree,
            grammar,
            leaves,
            tasks: Vec::new(),
            scheduled: Vec::new(),
            steps: 0,
            edges: Vec::with_capacity(numbers),
            lists: Vec::new(),
            lists_of_nodes: FxHashMap::default(),
            merged: FxHashMap::default(),
            hashes: vec![None; names],
            connected: vec![false; numbers],
            states: vec![UNSET; names],
            origins: Vec::new(),
            origin_connected: Vec::new(),
            journal: Vec::new(),
            branches: Vec::new(),
            loop_places: Vec::new(),
        }
    }

    fn run(&mut self, rules: &dyn Rules) -> Result<(), Stop> {
        self.tasks.push(Task::Visit(0));
        while let Some(task) = self.tasks.pop() {
            self.step(1)?;
            match task {
                Task::Visit(node) if self.leaves.is_leaf(node) => self.visit_leaf(node)?,
                Task::Visit(node) => {
                    rules.expand(node, self)?;
                    self.tasks.extend(self.scheduled.drain(..).rev());
                }
                Task::Compute { left, right } => self.set_computed(left, right)?,
                Task::Pair {
                    left,
                    right,
                    computed,
                } => self.set_paired(left, right, computed)?,
                Task::Declare(name) => {
                    for leaf in self.leaves.variables(name)? {
                        self.edge(leaf, false, Sources::None);
                        self.set(leaf);
                    }
                }
                Task::BranchOpen => self.branches.push(Branch {
                    mark: self.journal.len(),
                    in_main: true,
                    main: Changes::new(),
                    others: Vec::new(),
                }),
                Task::BranchMain => self.branch_main(),
                Task::BranchOther => self.branch_other(),
                Task::BranchClose { or_nothing } => self.branch_close(or_nothing),
                Task::LoopClose(first) => self.loop_close(first)?,
            }
        }
        Ok(())
    }

    fn step(&mut self, count: usize) -> Result<(), Stop> {
        self.steps += count as u64;
        if self.steps > STEPS_MAX {
            Err(Stop::TooLong)
        } else {
            Ok(())
        }
    }

    fn visit_leaf(&mut self, node: u32) -> Result<(), Stop> {
        let (leaf, variable) = self.leaves.leaf(node)?;
        if !variable {
            return Ok(());
        }
        let origin = self.states[leaf.name as usize];
        if origin != UNSET {
            self.edge(leaf, false, Sources::One(leaf.name));
            self.connected[leaf.number as usize] = true;
            self.connect(origin);
        } else {
            self.edge(leaf, false, Sources::None);
            if self
                .grammar
                .kind(self.tree.nodes[node as usize].kind)
                .identifier
            {
                self.set(leaf);
            }
        }
        Ok(())
    }

    fn set_computed(&mut self, left: u32, right: u32) -> Result<(), Stop> {
        let lefts = self.leaves.variables(left)?;
        let rights = self.leaves.variables(right)?;
        self.step(lefts.len() + rights.len())?;
        if lefts.is_empty() {
            return Ok(());
        }
        let sources = match rights[..] {
            [] => Sources::None,
            [only] => Sources::One(only.name),
            _ => Sources::Many(self.list_of_node(right, &rights)),
        };
        self.edges_to(&lefts, true, sources, &rights);
        Ok(())
    }

    fn set_paired(&mut self, left: u32, right: u32, computed: bool) -> Result<(), Stop> {
        let lefts = self.leaves.variables(left)?;
        let rights = self.leaves.variables(right)?;
        self.step(lefts.len() + rights.len())?;
        match rights[..] {
            [] => lefts.into_iter().for_each(|leaf| self.set(leaf)),
            [only] => self.edges_to(&lefts, computed, Sources::One(only.name), &rights),
            _ if lefts.is_empty() => {}
            _ => {
                let sources = Sources::Each(self.list_of_node(right, &rights));
                self.edges_to(&lefts, computed, sources, &rights);
            }
        }
        Ok(())
    }

    /// An edge to each leaf on the left, which is thereby set.
    fn edges_to(&mut self, lefts: &[Leaf], computed: bool, sources: Sources, rights: &[Leaf]) {
        if lefts.is_empty() {
            return;
        }
        for leaf in rights {
            self.connected[leaf.number as usize] = true;
        }
        for &leaf in lefts {
            self.edge(leaf, computed, sources);
            self.connected[leaf.number as usize] |= !rights.is_empty();
            self.set(leaf);
        }
    }

    /// The place of the list of these variables' names, which are those below `node`.
    fn list_of_node(&mut self, node: u32, variables: &[Leaf]) -> u32 {
        if let Some(&list) = self.lists_of_nodes.get(&node) {
            return list;
        }
        let list = self.list(variables.iter().map(|leaf| leaf.name).collect());
        self.lists_of_nodes.insert(node, list);
        list
    }

    fn edge(&mut self, leaf: Leaf, computed: bool, sources: Sources) {
        self.edges.push(Edge {
            number: leaf.number,
            computed,
            sources,
        });
    }

    fn list(&mut self, names: Vec<u32>) -> u32 {
        self.lists.push(names);
        self.lists.len() as u32 - 1
    }

    /// From here on the name's value is that of this token.
    fn set(&mut self, leaf: Leaf) {
        let origin = self.origin(Origin::Token(leaf.number));
        self.assign(leaf.name, origin);
    }

    fn origin(&mut self, origin: Origin) -> u32 {
        self.origins.push(origin);
        self.origin_connected.push(false);
        self.origins.len() as u32 - 1
    }

    fn assign(&mut self, name: u32, origin: u32) {
        let state = &mut self.states[name as usize];
        if !self.branches.is_empty() {
            self.journal.push((name, *state));
        }
        *state = origin;
    }

    /// Marks the tokens of an origin. Each origin is gone through once.
    fn connect(&mut self, origin: u32) {
        let mut open = vec![origin];
        while let Some(origin) = open.pop() {
            if std::mem::replace(&mut self.origin_connected[origin as usize], true) {
                continue;
            }
            match &self.origins[origin as usize] {
                Origin::Token(number) => self.connected[*number as usize] = true,
                Origin::AnyOf(origins) => open.extend(origins),
            }
        }
    }

    /// Goes back to the state at the mark; what was changed since.
    fn take_back(&mut self, mark: usize) -> Changes {
        let mut changes = Changes::new();
        for (name, before) in self.journal.drain(mark..).rev() {
            changes.push((
                name,
                std::mem::replace(&mut self.states[name as usize], before),
            ));
        }
        // Of a name changed twice the last change counts, which came out first here.
        changes.sort_by_key(|&(name, _)| name);
        changes.dedup_by_key(|&mut (name, _)| name);
        changes
    }

    fn branch_main(&mut self) {
        let Some(branch) = self.branches.last_mut() else {
            return;
        };
        if std::mem::replace(&mut branch.in_main, true) {
            return;
        }
        let (mark, main) = (branch.mark, std::mem::take(&mut branch.main));
        let other = self.take_back(mark);
        for (name, origin) in main {
            self.assign(name, origin);
        }
        if let Some(branch) = self.branches.last_mut() {
            branch.others.push(other);
        }
    }

    fn branch_other(&mut self) {
        let Some(branch) = self.branches.last_mut() else {
            return;
        };
        let was_main = std::mem::replace(&mut branch.in_main, false);
        let changes = {
            let mark = branch.mark;
            self.take_back(mark)
        };
        if let Some(branch) = self.branches.last_mut() {
            if was_main {
                branch.main = changes;
            } else {
                branch.others.push(changes);
            }
        }
    }

    fn branch_close(&mut self, or_nothing: bool) {
        self.branch_other();
        let Some(mut branch) = self.branches.pop() else {
            return;
        };
        branch.others.push(branch.main);
        let alternatives = branch.others.len() + usize::from(or_nothing);
        let mut changes = branch.others.concat();
        changes.sort_by_key(|&(name, _)| name);
        for changes in changes.chunk_by(|(a, _), (b, _)| a == b) {
            let name = changes[0].0;
            let mut origins: Vec<u32> = changes.iter().map(|&(_, origin)| origin).collect();
            let before = self.states[name as usize];
            if origins.len() < alternatives && before != UNSET {
                origins.push(before);
            }
            origins.sort_unstable();
            origins.dedup();
            let origin = match origins[..] {
                [only] => only,
                _ => self.origin(Origin::AnyOf(origins)),
            };
            self.assign(name, origin);
        }
    }

    /// The first of equal edges stays, and gets the names of all.
    fn loop_close(&mut self, first: usize) -> Result<(), Stop> {
        self.step(self.edges.len() - first)?;
        self.loop_places.resize(2 * self.leaves.count(), usize::MAX);
        let mut kept = first;
        for at in first..self.edges.len() {
            let edge = self.edges[at];
            let place =
                &mut self.loop_places[2 * edge.number as usize + usize::from(edge.computed)];
            // Places of earlier loops lie before the first edge, or hold another edge by now.
            let there = (first..kept)
                .contains(place)
                .then(|| self.edges[*place])
                .filter(|there| there.number == edge.number && there.computed == edge.computed);
            if let Some(there) = there {
                let place = *place;
                self.edges[place].sources = self.merge(there.sources, edge.sources)?;
            } else {
                *place = kept;
                let sources = self.alone(edge.sources)?;
                self.edges[kept] = Edge { sources, ..edge };
                kept += 1;
            }
        }
        self.edges.truncate(kept);
        Ok(())
    }

    /// The sources of an edge that has no equal yet: several edges are equal to each other.
    fn alone(&mut self, sources: Sources) -> Result<Sources, Stop> {
        match sources {
            Sources::Each(_) => self.merge(Sources::None, sources),
            Sources::None | Sources::One(_) | Sources::Many(_) => Ok(sources),
        }
    }

    /// `list(set(a + b))`; for several edges one after the other.
    fn merge(&mut self, a: Sources, b: Sources) -> Result<Sources, Stop> {
        match (a, b) {
            (Sources::None, Sources::None) => return Ok(Sources::None),
            (Sources::None, Sources::One(name)) | (Sources::One(name), Sources::None) => {
                return Ok(Sources::One(name));
            }
            (Sources::One(a), Sources::One(b)) if a == b => return Ok(Sources::One(a)),
            _ => {}
        }
        if let Some(&sources) = self.merged.get(&(a, b)) {
            return Ok(sources);
        }
        let mut names = self.names(&a).to_vec();
        let others = self.names(&b).to_vec();
        for &name in names.iter().chain(&others) {
            let text = &self.leaves.names()[name as usize];
            self.hashes[name as usize].get_or_insert_with(|| python_set::hash(text));
        }
        match b {
            Sources::Each(_) => {
                for name in others {
                    names.push(name);
                    names = self.ordered(names)?;
                }
            }
            _ => {
                names.extend(others);
                names = self.ordered(names)?;
            }
        }
        let sources = match names[..] {
            [] => Sources::None,
            [only] => Sources::One(only),
            _ => Sources::Many(self.list(names)),
        };
        self.merged.insert((a, b), sources);
        Ok(sources)
    }

    /// `list(set(names))`, all of them hashed.
    fn ordered(&mut self, names: Vec<u32>) -> Result<Vec<u32>, Stop> {
        self.step(names.len())?;
        let hash = |name: u32| self.hashes[name as usize].unwrap_or_default();
        Ok(python_set::set_order(names, hash))
    }

    fn names<'b>(&'b self, sources: &'b Sources) -> &'b [u32] {
        match sources {
            Sources::None => &[],
            Sources::One(name) => std::slice::from_ref(name),
            Sources::Many(list) | Sources::Each(list) => &self.lists[*list as usize],
        }
    }

    /// The edges in the order of their tokens, without the unconnected ones, one for a token.
    fn finish(mut self) -> Result<Normalised, Stop> {
        let mut edges = std::mem::take(&mut self.edges);
        edges.sort_by_key(|edge| edge.number);
        edges.retain(|edge| self.connected[edge.number as usize]);
        let mut merged: Vec<Edge> = Vec::with_capacity(edges.len());
        for edge in edges {
            match merged.last_mut() {
                Some(last) if last.number == edge.number => {
                    let sources = self.merge(last.sources, edge.sources)?;
                    *last = Edge { sources, ..edge };
                }
                _ => {
                    let sources = self.alone(edge.sources)?;
                    merged.push(Edge { sources, ..edge });
                }
            }
        }
        Ok(self.normalise(&merged))
    }

    /// Names become numbers in the order of their first use, sources before what they give.
    fn normalise(&self, edges: &[Edge]) -> Normalised {
        let mut variables: Vec<Option<u32>> = vec![None; self.leaves.names().len()];
        let mut count = 0;
        let mut variable = |name: u32| {
            *variables[name as usize].get_or_insert_with(|| {
                count += 1;
                count - 1
            })
        };
        let mut result = Normalised::default();
        let mut lists: FxHashMap<Sources, usize> = FxHashMap::default();
        for edge in edges {
            let list = *lists.entry(edge.sources).or_insert_with(|| {
                let names = self.names(&edge.sources);
                result
                    .lists
                    .push(names.iter().map(|&name| variable(name)).collect());
                result.lists.len() - 1
            });
            let name = self.leaves.name(edge.number);
            result.edges.push((variable(name), edge.computed, list));
        }
        result
    }
}

/// A flow without names: variables by number.
#[derive(Debug, Default)]
pub struct Normalised {
    /// Variable, whether computed, place in `lists`.
    edges: Vec<(u32, bool, usize)>,
    lists: Vec<Vec<u32>>,
}

impl Normalised {
    /// The flow of a source with its tree; empty where the reference raises an exception.
    ///
    /// # Errors
    /// [`Stop::TooLong`].
    pub fn new(
        source: &str,
        tree: &Tree,
        grammar: &Grammar,
        rules: &dyn Rules,
    ) -> Result<Self, Stop> {
        if tree.depth > DEPTH_MAX {
            return Ok(Self::default());
        }
        let mut flow = Flow::new(source, tree, grammar);
        match flow.run(rules) {
            Ok(()) => flow.finish(),
            Err(Stop::Raised) => Ok(Self::default()),
            Err(Stop::TooLong) => Err(Stop::TooLong),
        }
    }

    /// Each edge: variable, relation, variables of its sources.
    pub fn edges(&self) -> impl Iterator<Item = (u32, &'static str, &[u32])> {
        self.edges.iter().map(|&(variable, computed, list)| {
            let relation = if computed {
                "computedFrom"
            } else {
                "comesFrom"
            };
            (variable, relation, &self.lists[list][..])
        })
    }

    /// The edges as digests.
    #[must_use]
    pub fn digests(&self) -> Edges {
        let lists: Vec<Digest> = (self.lists.iter())
            .map(|list| {
                list.iter()
                    .fold(Digest::EMPTY, |digest, &name| digest.with(name.into()))
            })
            .collect();
        let mut digests: Vec<Digest> = (self.edges.iter())
            .map(|&(variable, computed, list)| {
                let sources = lists[list].with(self.lists[list].len() as u64);
                sources.with(variable.into()).with(computed.into())
            })
            .collect();
        digests.sort_unstable();
        Edges(digests)
    }
}

/// Digests of a flow's edges, sorted; equal ones stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges(Vec<Digest>);

impl Edges {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of these occur in `other`; one there serves one here.
    #[must_use]
    pub fn matches_in(&self, other: &Self) -> usize {
        let mut others = other.0.iter().peekable();
        let found = self.0.iter().filter(|&digest| {
            while others.next_if(|&other| other < digest).is_some() {}
            others.next_if_eq(&digest).is_some()
        });
        found.count()
    }
}
