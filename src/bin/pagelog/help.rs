//! What `--help` prints.

pub const GENERAL: &str = "\
Looks into pagelog stores.

usage: pagelog COMMAND DIR [options]

  stats DIR             figures: segments, live bytes, pages, snapshot, files
  verify DIR            checks everything, and lists all damage with its place
  dump segments DIR     the segments of the log
  dump records DIR      the records of the log
  dump page DIR ID      the history of a page: its records, by version
  map DIR               a picture of the log file: how full and how old its segments are
  backup DIR TO         copies a store into a new directory
  bench DIR             how quick this directory's disk is, and pagelog on it

  --json                machine-readable output, on standard output
  --quiet               no progress
  --help                this text, or more about a command
  --version

The store is never written to. Exit codes:

  0   all is well, as far as the command has looked: verify looks at everything
  1   the store is damaged
  2   the command line is wrong
  3   no store there, in use by a writer, or an error of the system
";

pub const STATS: &str = "\
usage: pagelog stats DIR [--json | --openmetrics] [--force] [--quiet]

Prints figures of a store: its format, segments, live bytes, space amplification, pages, LSNs, large values, snapshot and files. Opens it
read-only, which is quick where there is a recent snapshot. If it does not open, or is a log without pages, the whole log is read
instead.

  --force               also while the store is open elsewhere: reads the log next to its writer
  --openmetrics         the figures as text for monitoring systems, of a store that opens and is not in use. A program that has it open can
                        serve its own, which say more (Stats::to_openmetrics)
";

pub const VERIFY: &str = "\
usage: pagelog verify DIR [--json] [--quiet] [--segment-size BYTES]

Opens a store read-only and checks all of it: manifest, log, page table, large values, dictionaries, snapshot. If it does not open, all its
files are checked without opening it. Every fault is listed, with file, offset, LSN and page as far as known. Exit code 1 if there are any.

  --segment-size BYTES  for a store in which nothing tells it any more
";

pub const DUMP: &str = "\
usage: pagelog dump segments DIR [options]
       pagelog dump records DIR [--segment ID] [--from LSN] [--to LSN] [--live] [--hex] [options]
       pagelog dump page DIR ID [--live] [--hex] [options]

Lists segments or records straight from the log file: works on a damaged store too, and says what can't be read. Exit code 1 if anything
is damaged. Records are listed in the order of the log, those of a page by version: of several with one version all but the first are copies
that garbage collection made.

  --segment ID          records of this segment only
  --from LSN, --to LSN  records that begin in this range, the end excluded
  --live                live records only
  --hex                 with the payload, as it is stored
  --force               also while the store is open elsewhere: harmless, but what is read is of many moments
  --segment-size BYTES  for a store in which nothing tells it any more
  --json, --quiet

A record is live (nothing supersedes it), dead, void (behind the end of the log, or in an unfinished batch), or damaged. Of a damaged one kind,
page and version are what they seem to be.
";

pub const MAP: &str = "\
usage: pagelog map DIR [--svg FILE] [--json] [--force] [--segment-size BYTES] [--quiet]

Draws the log file: each slot, how much of it is live and how long ago it was begun. Works on a damaged store too.

  --svg FILE            also writes a picture there; not into the store's directory
  --force               also while the store is open elsewhere
  --segment-size BYTES  for a store in which nothing tells it any more
";

pub const BACKUP: &str = "\
usage: pagelog backup DIR TO [--json] [--quiet]

Copies a store that nobody has open for writing into the directory TO, which must be empty or not there yet. The copy opens as a store. A
program that has the store open can copy it itself while it runs (PageCache::backup_to).
";

pub const BENCH: &str = "\
usage: pagelog bench DIR [--seconds N] [--json] [--quiet]

Measures the disk of a directory, which may be any but a store's, and pagelog on it, in a new directory DIR/pagelog-bench-PID that is removed at the end
(if the program is killed, it stays). One moment on a machine that does other things too: look at orders of magnitude.

  --seconds N           for each measurement. Default 1
";
