//! A run's survivors as files: JSON in the fleet's record format, CSV, and NumPy's NPZ.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Cursor, Seek, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Serialize;
use shared::{
    npy,
    outcome::{Best, Sequences},
    sieve::{Direction, Mode, Sieve},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    certificate::{Certificate, CertificateError},
    ledger::{Kept, Ledger, LedgerError, RunRow},
    script_summary,
    summary::{Record, RunSummary, WalkRecord, rate},
};

/// A file format of survivors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An array of records.
    Json,
    /// A table with a header.
    Csv,
    /// Columns as NumPy arrays; seeds are `uint64`.
    Npz,
    /// The certificate of a complete run, which holds a hash of the survivors.
    Certificate,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "npz" => Ok(Self::Npz),
            "certificate" => Ok(Self::Certificate),
            _ => Err(format!("'{name}' is no format; it is json, csv, npz or certificate")),
        }
    }
}

impl Format {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Npz => "npz",
            Self::Certificate => "certificate",
        }
    }
}

/// Survivors that can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A format that the run has nothing for.
    #[error(
        "the results of run {run}, of the kind {kind}, are written as json alone: use --format json"
    )]
    Reports {
        /// The run.
        run: String,
        /// Its kind.
        kind: String,
    },
    /// The file or folder.
    #[error("{path} can't be written: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The stream that is written to.
    #[error("the survivors can't be written: {0}")]
    Stream(#[from] io::Error),
}

/// A survivor as the fleet's files hold it: `match_rate`, `best_skip`, `strategy_id` and
/// `skip_sequence` are the old names of `rate`, `skip`, `strategy` and `skips`.
#[derive(Debug, Serialize)]
pub(crate) struct FileRecord<'a> {
    #[serde(flatten)]
    record: Record,
    family: &'a str,
    /// Outputs and draws were compared modulo this.
    modulus: u32,
    /// How many outputs were passed over before anything else.
    offset: u32,
    /// Which order of the draws the seed was tested on.
    direction: Direction,
    match_rate: f64,
    best_skip: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_sequence: Option<Vec<u16>>,
}

/// Writes all survivors of a run, ascending by seed.
///
/// # Errors
/// [`ExportError`] when the ledger can't be read or `out` can't be written.
pub fn write(
    ledger: &Ledger,
    run: &RunRow,
    format: Format,
    out: impl Write,
) -> Result<(), ExportError> {
    let mut out = BufWriter::new(out);
    if let Some(records) = script_summary::records(ledger, run, u64::MAX, |_| false)? {
        if format != Format::Json {
            return Err(ExportError::Reports { run: run.name.clone(), kind: "script".to_owned() });
        }
        let mut array = Array::begin(&mut out);
        records.iter().try_for_each(|record| array.push(record))?;
        array.end()?;
        return Ok(out.flush()?);
    }
    if let Some(manifest) = run.manifest.as_ref().filter(|m| m.statistics.is_some()) {
        if format != Format::Json {
            let (run, kind) = (run.name.clone(), manifest.kind.clone());
            return Err(ExportError::Reports { run, kind });
        }
        write_reports(ledger, run, &mut out)?;
        return Ok(out.flush()?);
    }
    match format {
        Format::Json => write_json(ledger, run, &mut out)?,
        Format::Csv => write_csv(ledger, run, &mut out)?,
        Format::Npz => {
            let mut archive = Cursor::new(Vec::new());
            write_npz(ledger, run, &mut archive)?;
            out.write_all(archive.get_ref())?;
        }
        Format::Certificate => write_certificate(&Certificate::of(ledger, run)?, &mut out)?,
    }
    Ok(out.flush()?)
}

/// A JSON array, an element a line, that is never held whole.
struct Array<'a, W> {
    out: &'a mut W,
    separator: &'static str,
}

impl<'a, W: Write> Array<'a, W> {
    const fn begin(out: &'a mut W) -> Self {
        Self { out, separator: "[\n" }
    }

    fn push(&mut self, element: &impl Serialize) -> Result<(), ExportError> {
        self.out.write_all(self.separator.as_bytes())?;
        self.separator = ",\n";
        Ok(serde_json::to_writer(&mut *self.out, element).map_err(io::Error::from)?)
    }

    fn end(self) -> Result<(), ExportError> {
        Ok(self.out.write_all(if self.separator == "[\n" { b"[]\n" } else { b"\n]\n" })?)
    }
}

/// The reports of a correlation or an analysis.
fn write_reports(ledger: &Ledger, run: &RunRow, out: &mut impl Write) -> Result<(), ExportError> {
    let mut array = Array::begin(out);
    ledger.each_report(run, u64::MAX, |report| array.push(&report))?;
    array.end()
}

fn sieve(run: &RunRow) -> Option<&Sieve> {
    run.manifest.as_ref().and_then(|manifest| manifest.sieve.as_ref())
}

fn window(run: &RunRow) -> usize {
    sieve(run).map_or(1, |sieve| sieve.draws.len())
}

fn mode(run: &RunRow) -> Mode {
    sieve(run).map_or(Mode::Fixed, |sieve| sieve.mode)
}

fn write_json(ledger: &Ledger, run: &RunRow, out: &mut impl Write) -> Result<(), ExportError> {
    let mut array = Array::begin(out);
    each_record(ledger, run, |record| array.push(&record))?;
    array.end()
}

/// Hands out the survivors of a run as files have them, ascending by seed.
///
/// # Errors
/// When the ledger can't be read, and whatever `each` returns.
pub(crate) fn each_record<E: From<LedgerError>>(
    ledger: &Ledger,
    run: &RunRow,
    mut each: impl FnMut(FileRecord<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let total = window(run);
    let Some(sieve) = sieve(run) else { return Ok(()) };
    ledger.each_survivor(run, |kept: Kept| {
        let record = Record::new(kept, total);
        each(FileRecord {
            family: sieve.family.name(),
            modulus: sieve.modulus,
            offset: sieve.advance,
            direction: sieve.direction,
            match_rate: record.rate,
            best_skip: record.skip,
            strategy_id: record.walk.strategy,
            skip_sequence: record.walk.skips.clone(),
            record,
        })
    })
}

fn write_csv(ledger: &Ledger, run: &RunRow, out: &mut impl Write) -> Result<(), ExportError> {
    let total = window(run);
    let variable = mode(run) == Mode::Variable;
    write!(out, "seed,seed_hex,matches,total,rate,skip,reverse_matches,reverse_rate,reverse_skip")?;
    writeln!(
        out,
        "{}",
        if variable { ",strategy,skips,reverse_strategy,reverse_skips" } else { "" }
    )?;
    ledger.each_survivor(run, |kept: Kept| {
        let Record { seed, matches, rate, skip, reverse, walk, .. } = Record::new(kept, total);
        write!(out, "{seed},{seed:#x},{matches},{total},{rate},{skip}")?;
        match &reverse {
            None => write!(out, ",,,")?,
            Some(reverse) => {
                write!(out, ",{},{},{}", reverse.matches, reverse.rate, reverse.skip)?;
            }
        }
        if variable {
            let reverse = reverse.map(|reverse| reverse.walk).unwrap_or_default();
            write!(out, ",{},{}", cells(&walk), cells(&reverse))?;
        }
        Ok(writeln!(out)?)
    })
}

/// A strategy and its skips as two cells of a CSV, the skips apart by spaces.
fn cells(WalkRecord { strategy, skips }: &WalkRecord) -> String {
    let strategy = strategy.map_or_else(String::new, |id| id.to_string());
    let skips: Vec<String> = skips.iter().flatten().map(u16::to_string).collect();
    format!("{strategy},{}", skips.join(" "))
}

fn write_npz(
    ledger: &Ledger,
    run: &RunRow,
    out: &mut (impl Write + Seek),
) -> Result<(), ExportError> {
    let total = window(run);
    let mut survivors = Vec::new();
    ledger.each_survivor(run, |kept| {
        survivors.push(kept);
        Ok::<(), ExportError>(())
    })?;
    let mut zip = ZipWriter::new(out);
    let column = |of: &dyn Fn(&Kept) -> Vec<u8>| -> (usize, Vec<u8>) {
        (survivors.len(), survivors.iter().flat_map(of).collect())
    };
    let words = |of: fn(Best) -> u32| column(&|s| of(s.survivor.best).to_le_bytes().to_vec());
    let mut columns = vec![
        ("seeds", "<u8", column(&|s| s.survivor.seed.to_le_bytes().to_vec())),
        ("matches", "<u4", words(|best| best.matches)),
        ("rates", "<f8", column(&|s| rate(s.survivor.best, total).to_le_bytes().to_vec())),
    ];
    let reverse =
        |of: fn(Best) -> u32| column(&|s| s.survivor.reverse.map_or(0, of).to_le_bytes().to_vec());
    let both = survivors.iter().any(|s| s.survivor.reverse.is_some());
    if both {
        columns.push(("reverse_matches", "<u4", reverse(|best| best.matches)));
    }
    if mode(run) == Mode::Variable {
        // The skips of all, one after the other, and how many are whose.
        let skips = |of: fn(&Sequences) -> &Vec<u16>| -> [(usize, Vec<u8>); 2] {
            let all: Vec<&Vec<u16>> =
                survivors.iter().filter_map(|s| s.sequences.as_ref()).map(of).collect();
            let lengths = column(&|s| {
                let length = s.sequences.as_ref().map_or(0, |both| of(both).len());
                u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes().to_vec()
            });
            let bytes = all.iter().flat_map(|skips| skips.iter().flat_map(|s| s.to_le_bytes()));
            [(all.iter().map(|skips| skips.len()).sum(), bytes.collect()), lengths]
        };
        let [sequences, lengths] = skips(|both| &both.leading);
        columns.push(("strategies", "<u4", words(|best| best.skip)));
        columns.push(("sequences", "<u2", sequences));
        columns.push(("sequence_lengths", "<u4", lengths));
        if both {
            let [sequences, lengths] = skips(|both| &both.reverse);
            columns.push(("reverse_strategies", "<u4", reverse(|best| best.skip)));
            columns.push(("reverse_sequences", "<u2", sequences));
            columns.push(("reverse_sequence_lengths", "<u4", lengths));
        }
    } else {
        columns.push(("skips", "<u4", words(|best| best.skip)));
        if both {
            columns.push(("reverse_skips", "<u4", reverse(|best| best.skip)));
        }
    }
    for (name, kind, (rows, bytes)) in columns {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file(format!("{name}.npy"), options).map_err(io::Error::from)?;
        zip.write_all(&npy::header(kind, &[rows]))?;
        zip.write_all(&bytes)?;
    }
    zip.finish().map_err(io::Error::from)?;
    Ok(())
}

fn write_certificate(certificate: &Certificate, mut out: impl Write) -> Result<(), ExportError> {
    serde_json::to_writer_pretty(&mut out, certificate).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Writes a run's certificate into `folder`, if it has one.
///
/// # Errors
/// [`ExportError`] when the ledger can't be read or the folder can't be written.
pub fn write_certificate_into(
    ledger: &Ledger,
    run: &RunRow,
    folder: &Path,
) -> Result<(), ExportError> {
    let certificate = match Certificate::of(ledger, run) {
        Err(CertificateError::None { .. }) => return Ok(()),
        certificate => certificate?,
    };
    whole_file(&folder.join("certificate.json"), |file| {
        let mut out = BufWriter::new(file);
        write_certificate(&certificate, &mut out)?;
        Ok(out.flush()?)
    })
}

/// Writes a complete run's outputs, `survivors.json` (or `reports.json`), `summary.json` and
/// `certificate.json`, into `folder/RUN`. Each file appears whole or not at all.
///
/// # Errors
/// [`ExportError`] when the ledger can't be read or the folder can't be written.
pub fn write_outputs(ledger: &Ledger, name: &str, folder: &Path) -> Result<(), ExportError> {
    let Some(run) = ledger.run(name)? else { return Ok(()) };
    let folder = folder.join(name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::File { path, source }
    };
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let reports = run.manifest.as_ref().is_some_and(|manifest| manifest.statistics.is_some());
    let name = if reports { "reports.json" } else { "survivors.json" };
    whole_file(&folder.join(name), |file| write(ledger, &run, Format::Json, file))?;
    let summary = RunSummary::read(ledger, &run, 0)?;
    whole_file(&folder.join("summary.json"), |mut file| {
        serde_json::to_writer_pretty(&mut file, &summary).map_err(io::Error::from)?;
        Ok(writeln!(file)?)
    })?;
    write_certificate_into(ledger, &run, &folder)
}

/// Writes a file beside its place and moves it there when it is whole and on disk.
///
/// # Errors
/// [`ExportError::File`] when it can't be written, or what `fill` returns.
pub fn whole_file(
    path: &Path,
    fill: impl FnOnce(&File) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::File { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let file = File::create(&beside).map_err(failed)?;
    fill(&file)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}
