//! The readers of binary forms on the files that are kept for the fuzz target: good ones, and ones that once broke
//! something or nearly did. Random files are in the tests beside each reader.

use std::fs;
use std::path::Path;

mod oracle;

#[test]
fn every_kept_file_is_read_or_refused_without_a_panic() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/readers");
    let mut count = 0;
    for entry in fs::read_dir(kept).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        let data = fs::read(&path).expect("it can be read");
        println!("{}", path.display()); // shown when the next line fails
        oracle::survive(&data);
        // Cut anywhere it is another file, and no better.
        (0..data.len()).for_each(|len| oracle::survive(&data[..len]));
        count += 1;
    }
    assert!(count >= 8, "{count} files: has the corpus moved?");
}
