//! What the demo prints for people.

use serde_json::Value;

use super::stage::Stage;
use super::{Person, SignIn, WORKFORCE};

/// Columns of the claims' names.
const NAME_WIDTH: usize = 20;

/// One sign-in: the claims before and after, and what the host logged.
pub(super) fn sign_in(person: &Person, sign_in: &SignIn) {
    println!("\n{} signs in: {}", person.name, person.kind);
    println!("  {:<NAME_WIDTH$} {:<44} after", "claim", "before");
    for (name, after) in &sign_in.after {
        let before = sign_in.before.get(name).map(short).unwrap_or_default();
        let mark = if sign_in.added.contains_key(name) { "+" } else { " " };
        println!("{mark} {name:<NAME_WIDTH$} {before:<44} {}", short(after));
    }
    println!("  callout: {} in {:.1} ms", sign_in.outcome, sign_in.callout_ms);
    println!("  log:     {}", sign_in.log_line);
}

/// A claim's value in one column.
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= 43 {
        return text;
    }
    let start: String = text.chars().take(40).collect();
    format!("{start}...")
}

/// What a person can do next while the demo runs.
pub(super) fn what_to_try(stage: &Stage) {
    let (host, entra, directory) = (&stage.host, &stage.entra, stage.directory.display());
    println!(
        "
The host and the local Entra run on. Try, in another terminal:

  1. Change a plugin's settings and sign in again. Edit, for example the tier of Ada,
       {directory}/tenants/contoso/tenant.toml
     and then
       curl -s http://{entra}/{WORKFORCE}/sign-in -H 'content-type: application/json' \\
         -d '{{\"user\": \"ada@contoso.example\", \"application\": \"Shop\"}}'

  2. Be Entra: call the extension with a real token.
       curl -i http://{host}/tenants/contoso/extensions/customer-claims -H 'content-type: application/json' \\
         -H \"authorization: Bearer $(cat {directory}/callout-token)\" -d @{directory}/callout.json

  3. Break it: write nonsense into tenant.toml, see {directory}/claimsmith.log, and sign in all the same.

Logs: {directory}/claimsmith.log and local-entra.log. The local Entra lists what it offers at http://{entra}/
Ctrl-C ends the demo."
    );
}
