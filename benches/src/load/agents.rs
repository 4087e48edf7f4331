//! The agents of the nodes: each collects what the pods of its node emit and exports a batch of 200 to 1,000 items,
//! grouped by resource and scope, as the batch processor of a collector does.

use std::collections::VecDeque;

use super::random::Random;
use super::services::NODES;

/// The items of one pod and one scope, in the order in which they were emitted.
#[derive(Debug)]
pub struct Group<T> {
    /// Index of the pod.
    pub pod: usize,
    /// Index of the scope, in a numbering of the caller.
    pub scope: usize,
    /// At least one item.
    pub items: Vec<T>,
}

/// Batches that are being collected, one a node, and those that are full.
#[derive(Debug)]
pub struct Agents<T> {
    nodes: Vec<Node<T>>,
    full: VecDeque<Vec<Group<T>>>,
}

#[derive(Debug)]
struct Node<T> {
    groups: Vec<Group<T>>,
    count: u64,
    target: u64,
}

impl<T> Agents<T> {
    /// One empty agent a node.
    pub fn new(random: &mut Random) -> Self {
        let nodes = (0..NODES)
            .map(|_| Node {
                groups: Vec::new(),
                count: 0,
                target: target(random),
            })
            .collect();
        Self {
            nodes,
            full: VecDeque::new(),
        }
    }

    /// Hands one item to the agent of `node`.
    pub fn push(&mut self, node: usize, pod: usize, scope: usize, item: T, random: &mut Random) {
        let node = &mut self.nodes[node];
        match node
            .groups
            .iter_mut()
            .find(|group| group.pod == pod && group.scope == scope)
        {
            Some(group) => group.items.push(item),
            None => node.groups.push(Group {
                pod,
                scope,
                items: vec![item],
            }),
        }
        node.count += 1;
        if node.count >= node.target {
            let mut groups = std::mem::take(&mut node.groups);
            groups.sort_by_key(|group| (group.pod, group.scope));
            self.full.push_back(groups);
            node.count = 0;
            node.target = target(random);
        }
    }

    /// The next full batch, oldest first, sorted by pod and scope.
    pub fn next_full(&mut self) -> Option<Vec<Group<T>>> {
        self.full.pop_front()
    }

    /// Exports what is left, full or not: the load has ended.
    pub fn flush(&mut self) {
        for node in &mut self.nodes {
            if node.count > 0 {
                let mut groups = std::mem::take(&mut node.groups);
                groups.sort_by_key(|group| (group.pod, group.scope));
                self.full.push_back(groups);
                node.count = 0;
            }
        }
    }
}

fn target(random: &mut Random) -> u64 {
    random.between(200, 1000)
}
