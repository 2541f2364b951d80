//! How fast this machine runs a model of random weights:
//! `cargo run --release -p lexiscale-kernels --example speed -- distil [tokens] [threads] [lanes] [texts in a
//! call] [instruction set] [fp32]`.
//!
//! The limit beside it is the precision's product alone, on operands that stay in the cache, measured in the same run.
#![expect(clippy::print_stdout, reason = "a program's output")]

use std::io::{BufWriter, Write as _};
use std::time::Instant;

use lexiscale_kernels::synthetic::{Random, Synthetic};
use lexiscale_kernels::{
    Activation, Block, Isa, Model, Positions, Precision, Shape, Sight, Team, Workspace, pack,
};

const ROUNDS: usize = 5;
const SECONDS: f64 = 0.4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("distil", String::as_str);
    let number = |index: usize, default: usize| {
        arguments.get(index).and_then(|argument| argument.parse().ok()).unwrap_or(default)
    };
    let (tokens, threads, lanes, together) = (number(1, 128), number(2, 1), number(3, 2), number(4, 1));
    let precision = match arguments.get(6).map(String::as_str) {
        Some("fp32") => Precision::Fp32,
        _ => Precision::Int8,
    };
    let folder = std::env::temp_dir().join(format!("lexiscale-kernels-{name}-{precision:?}"));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("model");
    let shape = shape(name).ok_or("the model is one of tiny, distil, bertbase, granite30m, modernbert")?;
    if !path.exists() {
        write(&shape, precision, &path)?;
    }
    let mut model = Model::open(&path)?;
    if let Some(wanted) = arguments.get(5).filter(|wanted| *wanted != "-") {
        let found = Isa::available().into_iter().find(|isa| isa.name() == wanted);
        model = model.with_isa(found.ok_or("this machine lacks that instruction set")?);
    }
    let texts = texts(tokens, &shape);
    let before = cpu_seconds();
    let mut texts_done = 0;
    let mut rates: Vec<f64> =
        (0..ROUNDS).map(|_| rate(&model, &texts, [threads, lanes, together], &mut texts_done)).collect();
    let per_core = texts_done as f64 / (cpu_seconds() - before);
    rates.sort_by(f64::total_cmp);
    let mut space = Workspace::new();
    let terms = model.embed(&texts[0], &mut space, &Team::alone()).len();
    let operations = 2.0 * tokens as f64 * multiplications(&shape);
    let limit = lexiscale_kernels::limit::measure(model.isa(), precision, threads * lanes);
    let speed = rates[ROUNDS / 2] * operations / 1e9;
    println!(
        "{name} {tokens} tokens, {lanes} x {threads} threads, {together} in a call, {}: {:.1} / {:.1} / {:.1} docs/s, {speed:.0} Gop/s = {:.0} % of {limit:.0}, {terms} terms, {} rescored; {per_core:.1} docs per CPU second = {:.0} %",
        model.isa().name(),
        rates[0],
        rates[ROUNDS / 2],
        rates[ROUNDS - 1],
        100.0 * speed / limit,
        space.rescored(),
        100.0 * per_core * operations / 1e9 / (limit / (threads * lanes) as f64),
    );
    Ok(())
}

fn shape(name: &str) -> Option<Shape> {
    let [layers, hidden, heads, intermediate, vocabulary] = match name {
        "modernbert" => return Some(modernbert()),
        "tiny" => [2, 128, 2, 512, 30_522],
        "distil" => [6, 768, 12, 3072, 30_522],
        "bertbase" => [12, 768, 12, 3072, 30_522],
        "granite30m" => [6, 384, 12, 1536, 50_265],
        _ => return None,
    };
    Some(Shape {
        layers: vec![Sight::Global; layers],
        hidden,
        heads,
        intermediate,
        vocabulary,
        positions: Positions::Table { rows: 512, offset: 0, padding: None, token_types: 2 },
        block: Block::NormAfter,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    })
}

/// That of ModernBERT-base.
fn modernbert() -> Shape {
    let sight = |layer: usize| match layer % 3 {
        0 => Sight::Global,
        _ => Sight::Local { reach: 64 },
    };
    Shape {
        layers: (0..22).map(sight).collect(),
        hidden: 768,
        heads: 12,
        intermediate: 1152,
        vocabulary: 50_368,
        positions: Positions::Rotations { window: 8192, global_theta: 160_000.0, local_theta: 10_000.0 },
        block: Block::NormBeforeGated,
        epsilon: 1e-5,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    }
}

/// Multiplications of one token, without those of attention, which grow with the text.
fn multiplications(shape: &Shape) -> f64 {
    let &Shape { hidden, intermediate, vocabulary, block, .. } = shape;
    let wide = match block {
        Block::NormAfter => 2,
        Block::NormBeforeGated => 3,
    };
    let layer = 4 * hidden * hidden + wide * hidden * intermediate;
    (shape.layers.len() * layer + hidden * hidden + hidden * vocabulary) as f64
}

/// Packs it twice: the first time every word has a positive logit, and the 300th strongest says what bias leaves 300.
fn write(
    shape: &Shape,
    precision: Precision,
    path: &std::path::Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut synthetic = Synthetic { shape: shape.clone(), seed: 1, is_tied: true, decoder_bias: 100.0 };
    let write = |synthetic: &Synthetic| -> Result<(), Box<dyn std::error::Error>> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        pack(shape, precision, synthetic, &mut file)?;
        Ok(file.flush()?)
    };
    write(&synthetic)?;
    let model = Model::open(path)?;
    let mut found = model.embed(&texts(128, shape)[0], &mut Workspace::new(), &Team::alone());
    found.sort_by(|left, right| right.1.total_cmp(&left.1));
    drop(model);
    std::fs::remove_file(path)?;
    synthetic.decoder_bias = 100.0 - found[300].1;
    write(&synthetic)
}

fn texts(tokens: usize, shape: &Shape) -> Vec<Vec<u32>> {
    let mut random = Random(7);
    let mut id = || u32::try_from(random.below(shape.vocabulary as u64)).unwrap_or_default();
    (0..16).map(|_| (0..tokens).map(|_| id()).collect()).collect()
}

/// Texts a second, over all lanes.
fn rate(model: &Model, texts: &[Vec<u32>], [threads, lanes, together]: [usize; 3], done: &mut usize) -> f64 {
    let lane = |lane: usize| {
        let (team, mut space) = (Team::new(threads), Workspace::new());
        model.embed(&texts[lane], &mut space, &team);
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < SECONDS {
            let group: Vec<&[u32]> =
                (0..together).map(|next| &texts[(lane + count + next) % texts.len()][..]).collect();
            std::hint::black_box(model.embed_all(&group, &mut space, &team));
            count += together;
        }
        (count, count as f64 / start.elapsed().as_secs_f64())
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|index| scope.spawn(move || lane(index))).collect();
        let each: Vec<(usize, f64)> = lanes.into_iter().map(|lane| lane.join().unwrap_or_default()).collect();
        *done += each.iter().map(|(count, _)| count).sum::<usize>();
        each.iter().map(|(_, rate)| rate).sum()
    })
}

/// What this process has used so far, in hundredths of a second. Beside other work it tells more than the wall clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
