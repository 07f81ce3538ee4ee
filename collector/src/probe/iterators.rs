//! Programs that go over all things of a kind and write what they find into a file.

use super::ProbeError;
use aya::programs::{Iter, Program};
use aya::{Btf, Ebpf};
use std::fs::File;

/// Loads iterators, each with the kind of thing that it goes over; a kernel without them has none.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf, iterators: &[(&str, &str)]) {
    for (name, kind) in iterators {
        let loaded = iterator(ebpf, name)
            .and_then(|program| program.load(kind, btf).map_err(|error| ProbeError::setup("load an iterator", error)));
        if let Err(error) = loaded {
            tracing::debug!(program = name, %error, "program is not loaded");
        }
    }
}

/// The file of a new round.
pub(super) fn open(ebpf: &mut Ebpf, name: &str) -> Result<File, ProbeError> {
    let program = iterator(ebpf, name)?;
    let link = program.attach().and_then(|id| program.take_link(id));
    let file = link.map_err(|error| ProbeError::setup("start an iterator", error))?.into_file();
    file.map_err(|error| ProbeError::setup("open an iterator", error))
}

/// Gives an iterator's memory back; one that was not loaded has none.
pub(super) fn unload(ebpf: &mut Ebpf, name: &str) {
    if let Err(error) = iterator(ebpf, name).map(|program| program.unload()) {
        tracing::debug!(program = name, %error, "program is not unloaded");
    }
}

fn iterator<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Iter, ProbeError> {
    let missing = || ProbeError::Setup { what: format!("no program {name} in the object") };
    let program: &mut Program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|error| ProbeError::setup("find an iterator", error))
}
