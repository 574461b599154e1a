//! Control flow graphs, and what they say about dependence.

/// Where a node's execution may go on: the node, and by which branch.
pub type Successor = (u32, u32);

/// The branch of nodes that have one way out.
pub const ALWAYS: u32 = 0;
/// The way into a loop's body, or to the first alternative.
pub const TRUE: u32 = 1;
/// The way past it.
pub const FALSE: u32 = 2;
/// The way to a case or a handler.
pub const CASE: u32 = 3;

/// What a node does to variables, given by numbers.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Variables that are read.
    pub uses: Vec<u32>,
    /// Variables that are set; and whether that hides what was set before. A change to a part of
    /// an object doesn't.
    pub defines: Vec<(u32, bool)>,
}

/// The control flow of one procedure. Node 0 is where it is entered, node 1 where it is left.
#[derive(Clone, Debug)]
pub struct Flow {
    /// By node.
    pub successors: Vec<Vec<Successor>>,
    /// By node.
    pub effects: Vec<Effects>,
}

/// Where a procedure is entered.
pub const ENTRY: u32 = 0;
/// Where it is left.
pub const EXIT: u32 = 1;

impl Default for Flow {
    fn default() -> Self {
        Self {
            successors: vec![Vec::new(); 2],
            effects: vec![Effects::default(); 2],
        }
    }
}

impl Flow {
    /// A node more.
    pub fn add(&mut self, effects: Effects) -> u32 {
        self.successors.push(Vec::new());
        self.effects.push(effects);
        self.successors.len() as u32 - 1
    }

    /// Which nodes are executed only by whose decision: node, decider, branch, sorted.
    ///
    /// A node depends on a decider's branch if it stands on every way from there to the exit, but
    /// not on every way from the decider (Ferrante, Ottenstein and Warren 1987, section 3.1,
    /// <https://doi.org/10.1145/24039.24041>). Entering a procedure counts as a decision between
    /// its first node and the exit. From every node a way must lead to the exit.
    #[must_use]
    pub fn control_dependences(&self) -> Vec<(u32, u32, u32)> {
        let nearest = self.nearest_postdominators();
        let mut found = Vec::new();
        let entry = self.successors[ENTRY as usize].iter().copied();
        let entry: Vec<Successor> = entry.chain([(EXIT, FALSE)]).collect();
        for (from, ways) in (0..).zip(&self.successors) {
            let ways = if from == ENTRY { &entry } else { ways };
            let past = if from == ENTRY {
                EXIT
            } else {
                nearest[from as usize]
            };
            for &(to, branch) in ways {
                let mut node = to;
                while node != past && node != EXIT {
                    found.push((node, from, branch));
                    node = nearest[node as usize];
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Of each node the first other one that stands on every way from it to the exit (Cooper,
    /// Harvey and Kennedy 2001, "A simple, fast dominance algorithm", on the reversed graph).
    fn nearest_postdominators(&self) -> Vec<u32> {
        const UNKNOWN: u32 = u32::MAX;
        let count = self.successors.len();
        let mut sources = vec![Vec::new(); count];
        for (from, ways) in (0..).zip(&self.successors) {
            for &(to, _) in ways {
                sources[to as usize].push(from);
            }
        }
        // Nodes in postorder of a walk from the exit, against the flow.
        let mut order = Vec::with_capacity(count);
        let mut place = vec![UNKNOWN; count];
        let mut seen = vec![false; count];
        seen[EXIT as usize] = true;
        let mut open = vec![(EXIT, 0)];
        while let Some((node, done)) = open.pop() {
            match sources[node as usize].get(done) {
                Some(&next) => {
                    open.push((node, done + 1));
                    if !std::mem::replace(&mut seen[next as usize], true) {
                        open.push((next, 0));
                    }
                }
                None => {
                    place[node as usize] = order.len() as u32;
                    order.push(node);
                }
            }
        }
        let mut nearest = vec![UNKNOWN; count];
        nearest[EXIT as usize] = EXIT;
        let mut changed = true;
        while changed {
            changed = false;
            for &node in order.iter().rev().filter(|node| **node != EXIT) {
                let ways = self.successors[node as usize].iter().map(|way| way.0);
                let known = ways.filter(|&to| nearest[to as usize] != UNKNOWN);
                let common = known.reduce(|mut one, mut other| {
                    while one != other {
                        while place[one as usize] < place[other as usize] {
                            one = nearest[one as usize];
                        }
                        while place[other as usize] < place[one as usize] {
                            other = nearest[other as usize];
                        }
                    }
                    one
                });
                let common = common.unwrap_or(EXIT);
                if nearest[node as usize] != common {
                    nearest[node as usize] = common;
                    changed = true;
                }
            }
        }
        // A node without a way to the exit: there is none, by construction.
        nearest
            .iter_mut()
            .filter(|node| **node == UNKNOWN)
            .for_each(|node| *node = EXIT);
        nearest
    }

    /// Which nodes may read what another has set: reader, setter, variable, sorted.
    ///
    /// The setter's value reaches the reader if some way between them has no node that hides it
    /// (reaching definitions: Aho, Lam, Sethi and Ullman 2006, section 9.2.4).
    #[must_use]
    pub fn data_dependences(&self) -> Vec<(u32, u32, u32)> {
        let mut definitions = Vec::new();
        for (node, effects) in (0..).zip(&self.effects) {
            definitions.extend(
                effects
                    .defines
                    .iter()
                    .map(|&(variable, _)| (node, variable)),
            );
        }
        let words = definitions.len().div_ceil(64);
        let mut by_variable = std::collections::BTreeMap::<u32, Vec<usize>>::new();
        for (place, &(_, variable)) in definitions.iter().enumerate() {
            by_variable.entry(variable).or_default().push(place);
        }
        let count = self.successors.len();
        // Bits of the definitions that reach the beginnings of nodes, and that leave them.
        let mut before = vec![0u64; count * words];
        let mut made = vec![0u64; count * words];
        let mut hidden = vec![0u64; count * words];
        let set = |bits: &mut [u64], node: u32, place: usize| {
            bits[node as usize * words + place / 64] |= 1 << (place % 64);
        };
        for (place, &(node, _)) in definitions.iter().enumerate() {
            set(&mut made, node, place);
        }
        for (node, effects) in (0..).zip(&self.effects) {
            for (variable, _) in effects.defines.iter().filter(|(_, hides)| *hides) {
                for &place in &by_variable[variable] {
                    set(&mut hidden, node, place);
                }
            }
        }
        let mut waiting: Vec<u32> = (0..count as u32).rev().collect();
        let mut waits = vec![true; count];
        let mut after = vec![0u64; words];
        while let Some(node) = waiting.pop() {
            waits[node as usize] = false;
            let own = node as usize * words;
            for (word, after) in after.iter_mut().enumerate() {
                *after = before[own + word] & !hidden[own + word] | made[own + word];
            }
            for &(to, _) in &self.successors[node as usize] {
                let into = &mut before[to as usize * words..][..words];
                let mut more = false;
                for (into, after) in into.iter_mut().zip(&after) {
                    more |= *after & !*into != 0;
                    *into |= after;
                }
                if more && !std::mem::replace(&mut waits[to as usize], true) {
                    waiting.push(to);
                }
            }
        }
        let mut found = Vec::new();
        for (node, effects) in (0..).zip(&self.effects) {
            for variable in &effects.uses {
                for &place in by_variable.get(variable).into_iter().flatten() {
                    if before[node as usize * words + place / 64] >> (place % 64) & 1 == 1 {
                        found.push((node, definitions[place].0, *variable));
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
