//! Every step of every workflow: made to fail first, to run twice, to meet a bug before its work and
//! after it. The checkout's loops are in `saga` and `undoing`; those of the other workflows are below.
//! A step that no loop runs over fails the test here.

mod fulfilment;
mod reconciling;
mod refund;
mod sweeper;

use std::{collections::BTreeSet, fs, path::Path};

use devstack::workspace_root;

use crate::saga;

/// How a workflow's contract introduces the name of a step.
const NAMED: &str = "#[activity(name = \"";

/// Every step that a loop runs over. A loop over the steps of a new workflow is named here.
fn looped() -> Vec<&'static str> {
    [
        saga::looped(),
        refund::looped().to_vec(),
        fulfilment::looped().to_vec(),
        sweeper::looped().to_vec(),
        reconciling::looped().to_vec(),
    ]
    .concat()
}

#[test]
fn every_step_of_every_workflow_is_run_over_by_a_loop_of_failures() {
    let mut contract = BTreeSet::new();
    collect(&workspace_root().join("workflows/src"), &mut contract);

    let looped = looped();

    let names: BTreeSet<String> = looped.iter().map(ToString::to_string).collect();
    assert_eq!(names, contract, "a loop runs over each step of the contract, and over no other");
    assert_eq!(names.len(), looped.len(), "and over each once: {looped:?}");
}

/// The names of the steps in the sources below a folder.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the workflows' sources") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            collect(&path, names);
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source");
        for rest in source.split(NAMED).skip(1) {
            let (name, _) = rest.split_once('"').expect("a name ends");
            names.insert(name.to_owned());
        }
    }
}
