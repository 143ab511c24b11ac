//! What the size of a callout and the number of claims cost, with the sandbox and without.

use anyhow::Result;

use crate::configuration::Configuration;
use crate::conformance;
use crate::process::{Server, free_port};
use crate::results::Results;
use crate::rounds::USUAL_CONNECTIONS;
use crate::run::Bench;
use crate::scenario;
use crate::subjects::{CLAIMSMITH, Kind, NATIVE_TWIN, Subject, serve};

/// Lengths of the callout's body.
pub const PAYLOADS: [usize; 5] = [1024, 2048, 4096, 16_384, 65_536];
/// Claims in the answer.
pub const CLAIMS: [usize; 4] = [1, 5, 20, 60];
/// Rounds at most: these widen the picture and are no figures.
const ROUNDS: usize = 3;

/// What a body's length is called in the results.
#[must_use]
pub fn payload(bytes: usize) -> String {
    format!("body of {} KB", bytes / 1024)
}

/// What a number of claims is called in the results.
#[must_use]
pub fn claims(claims: usize) -> String {
    format!("claims: {claims}")
}

/// Measures both.
///
/// # Errors
/// When a subject does not start or answers wrongly.
pub async fn measure(bench: &Bench, subjects: &[Subject], results: &mut Results) -> Result<()> {
    let both = [CLAIMSMITH, NATIVE_TWIN];
    let both: Vec<_> = subjects.iter().filter(|subject| both.contains(&subject.name)).collect();
    for round in 1..=bench.plan.rounds.min(ROUNDS) {
        bench.progress.say(format!("payloads and claims, round {round}"));
        for subject in &both {
            let server = subject.start(&bench.built, &bench.entra, bench.cores).await?;
            for bytes in PAYLOADS {
                let body = scenario::request_of(bytes)?;
                measure_one(bench, subject, &server, &payload(bytes), body, results).await?;
            }
            server.stop().await?;
            for number in CLAIMS {
                let server = start_with_claims(bench, subject, number).await?;
                let body = scenario::request().to_owned();
                measure_one(bench, subject, &server, &claims(number), body, results).await?;
                server.stop().await?;
            }
        }
    }
    Ok(())
}

async fn measure_one(
    bench: &Bench,
    subject: &Subject,
    server: &Server,
    point: &str,
    body: String,
    results: &mut Results,
) -> Result<()> {
    let answer = conformance::good_answer(&server.url(scenario::PATH), &bench.token, &body, None).await?;
    let mut job = bench.job(server, &answer, USUAL_CONNECTIONS, bench.plan.closed);
    job.body = body;
    let sample = bench.measure(server, &job).await?;
    results.add(subject.name, point, sample);
    Ok(())
}

async fn start_with_claims(bench: &Bench, subject: &Subject, claims: usize) -> Result<Server> {
    let Kind::Claimsmith { program, .. } = subject.kind else {
        anyhow::bail!("{} has no configuration", subject.name);
    };
    let port = free_port()?;
    let directory = bench.built.scratch.join("run").join(format!("{}-claims", subject.name));
    let settings = scenario::rules_for(claims);
    let configuration = Configuration::of_one(&bench.entra.metadata_url()?, &bench.built.component(), settings);
    configuration.write(&directory, port)?;
    let command = serve(&bench.built, program, &directory)?;
    Server::start(&command, bench.cores.server, port, "/readyz", &directory.join("log")).await
}
