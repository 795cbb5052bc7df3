//! Writes the generated reference pages into `docs/reference/` of the repository. CI fails when they are stale.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    std::fs::create_dir_all(&docs)?;
    std::fs::write(docs.join("config.md"), cresset_config::reference_markdown())?;
    std::fs::write(
        docs.join("model-toml.md"),
        cresset_config::model_reference_markdown(),
    )
}
