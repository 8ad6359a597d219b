//! Where clients speak to models, in which dialects: made of what the formats say of themselves.

use std::sync::LazyLock;

use crate::wire::{Endpoint, FORMATS, WireFormat};

/// An endpoint with the formats that are spoken there.
#[derive(Debug)]
pub(super) struct Surface {
    pub(super) endpoint: &'static Endpoint,
    /// Not empty; the last one reads what none recognises.
    formats: Vec<&'static dyn WireFormat>,
}

/// Every surface, in the order of [`FORMATS`].
pub(super) static SURFACES: LazyLock<Vec<Surface>> = LazyLock::new(|| {
    let mut surfaces: Vec<Surface> = Vec::new();
    for format in FORMATS.iter().copied() {
        for endpoint in format.endpoints() {
            let known = surfaces.iter_mut().find(|known| known.endpoint.name == endpoint.name);
            match known {
                Some(known) => known.formats.push(format),
                None => surfaces.push(Surface { endpoint, formats: vec![format] }),
            }
        }
    }
    surfaces
});

impl Surface {
    /// The format that is spoken where nothing tells otherwise, as before the body is read.
    pub(super) fn usual(&self) -> &'static dyn WireFormat {
        self.formats.last().copied().expect("a surface is made with its first format")
    }

    /// The format of a body.
    pub(super) fn spoken(&self, body: &[u8]) -> &'static dyn WireFormat {
        let others = self.formats.len() - 1;
        let found = self.formats[..others].iter().find(|format| format.recognises(body));
        found.copied().unwrap_or_else(|| self.usual())
    }
}
