//! What an author is told who uses the attributes wrongly.
//!
//! After a change that is meant: `TRYBUILD=overwrite cargo test -p claimsmith-plugin --test compile_errors`.

#[test]
fn a_wrong_plugin_says_what_was_expected() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
