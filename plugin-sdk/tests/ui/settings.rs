//! Types that settings cannot be read into.

#[claimsmith_plugin::settings]
struct Unit;

#[claimsmith_plugin::settings]
struct Tuple(String);

#[claimsmith_plugin::settings]
struct Generic<T> {
    member: T,
}

#[claimsmith_plugin::settings]
union Union {
    member: u8,
}

#[claimsmith_plugin::settings(strict)]
struct Arguments {}

#[claimsmith_plugin::settings]
fn not_a_type() {}

fn main() {}
