//! Files by strangers: a wrong one is refused with a reason, and no content can make the kernels do anything but compute.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;

use lexiscale_kernels::synthetic::{Random, Synthetic};
use lexiscale_kernels::{
    Activation, Block, HeaderError, Isa, LayerPart, Model, OpenError, PackError, Part, Positions, Precision,
    Saturation, Shape, ShapeError, Sight, Team, Tensors, Workspace, pack,
};

fn packed() -> Vec<u8> {
    packed_in(Precision::Int8)
}

fn packed_in(precision: Precision) -> Vec<u8> {
    packed_as(&plain(), precision)
}

fn plain() -> Shape {
    Shape {
        layers: vec![Sight::Global],
        hidden: 48,
        heads: 3,
        intermediate: 100,
        vocabulary: 130,
        positions: Positions::Table { rows: 20, offset: 0, padding: None, token_types: 1 },
        block: Block::NormAfter,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    }
}

/// With rotations, a local layer and gates.
fn modern() -> Shape {
    Shape {
        layers: vec![Sight::Global, Sight::Local { reach: 2 }],
        positions: Positions::Rotations { window: 20, global_theta: 160_000.0, local_theta: 10_000.0 },
        block: Block::NormBeforeGated,
        ..plain()
    }
}

fn packed_as(shape: &Shape, precision: Precision) -> Vec<u8> {
    let mut bytes = Vec::new();
    let synthetic = Synthetic { shape: shape.clone(), seed: 3, is_tied: false, decoder_bias: 0.0 };
    pack(shape, precision, &synthetic, &mut bytes).unwrap();
    bytes
}

fn open(bytes: &[u8]) -> Result<Model, OpenError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Model::open(file.path())
}

fn with(at: usize, value: &[u8]) -> Vec<u8> {
    changed(packed(), at, value)
}

fn changed(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn every_truncated_or_lengthened_file_is_refused() {
    let bytes = packed();
    assert!(open(&bytes).is_ok());
    let mut random = Random(1);
    let cuts = (0..60).map(|_| usize::try_from(random.below(bytes.len() as u64)).unwrap());
    for cut in cuts.chain([0, 1, 7, 8, 127, 128, 129, bytes.len() - 1]) {
        match open(&bytes[..cut]) {
            Err(OpenError::Length { .. }) => assert!(cut >= 128),
            Err(OpenError::Header(HeaderError::Short)) => assert!(cut < 128),
            other => panic!("{cut}: {other:?}"),
        }
    }
    let mut longer = bytes;
    longer.extend_from_slice(&[0; 64]);
    assert!(matches!(open(&longer), Err(OpenError::Length { .. })));
}

/// Sizes in the header decide every offset, so absurd ones must end here.
#[test]
fn headers_that_lie_are_refused() {
    type Check = fn(&OpenError) -> bool;
    let header = |at: usize, value: &[u8], check: Check| {
        let error = open(&with(at, value)).expect_err("refused");
        assert!(check(&error), "{at} {value:?}: {error:?}");
        assert!(!error.to_string().is_empty());
    };
    header(0, b"X", |error| matches!(error, OpenError::Header(HeaderError::Magic)));
    header(8, &2_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Version { found: 2 }))
    });
    header(12, &9_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Activation { found: 9 }))
    });
    header(16, &7_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Tied { found: 7 }))
    });
    header(88, &2_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Precision { found: 2 }))
    });
    // Floats take four times the room of bytes.
    header(88, &1_u32.to_le_bytes(), |error| matches!(error, OpenError::Length { .. }));
    header(92, &5_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Activation { found: 4 }))
    });
    header(96, &21_u64.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Shape(ShapeError::Padding { padding: 20, .. })))
    });
    for epsilon in [f32::NAN, f32::INFINITY, -1.0] {
        header(20, &epsilon.to_le_bytes(), |error| {
            matches!(error, OpenError::Header(HeaderError::Shape(ShapeError::Epsilon)))
        });
    }
    // Layers, hidden, heads, intermediate, vocabulary, positions, token types, offset. A few lies change no offset, such as
    // another number of heads, and make another valid model.
    let mut refused = 0;
    for field in 0..8 {
        for size in [0, 1, 7, 47, 1 << 20, 1 << 32, u64::MAX / 2, u64::MAX] {
            match open(&with(24 + 8 * field, &size.to_le_bytes())) {
                Ok(model) => drop(model.embed(&[1, 2], &mut Workspace::new(), &Team::alone())),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

/// What only files with rotations, gates and local layers say.
#[test]
fn headers_that_lie_about_places_and_layers_are_refused() {
    type Check = fn(&OpenError) -> bool;
    let file = packed_as(&modern(), Precision::Int8);
    assert_eq!(open(&file).unwrap().shape(), &modern());
    let header = |at: usize, value: &[u8], check: Check| {
        let error = open(&changed(file.clone(), at, value)).expect_err("refused");
        assert!(check(&error), "{at} {value:?}: {error:?}");
        assert!(!error.to_string().is_empty());
    };
    header(104, &2_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Block { found: 2 }))
    });
    // Without gates it is half as wide.
    header(104, &0_u32.to_le_bytes(), |error| matches!(error, OpenError::Length { .. }));
    for (at, theta) in
        [(108, f32::NAN), (108, 0.5), (112, f32::INFINITY), (112, 0.0), (108, -1.0), (112, -0.0)]
    {
        header(at, &theta.to_le_bytes(), |error| {
            matches!(error, OpenError::Header(HeaderError::Shape(ShapeError::Theta { .. })))
        });
    }
    header(116, &7_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Sights { found: 7 }))
    });
    // A list in which all layers look at everything.
    header(132, &0_u32.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Sights { found: 1 }))
    });
    // Token types, an offset, a padding token.
    for at in [72, 80, 96] {
        header(at, &1_u64.to_le_bytes(), |error| matches!(error, OpenError::Header(HeaderError::Turned)));
    }
    // 16 heads of 3 columns.
    header(40, &16_u64.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Shape(ShapeError::OddHead { head: 3 })))
    });
    header(132, &u32::MAX.to_le_bytes(), |error| {
        matches!(error, OpenError::Header(HeaderError::Shape(ShapeError::OutOfBounds { field: "reach", .. })))
    });
    header(24, &1_000_000_u64.to_le_bytes(), |error| {
        matches!(
            error,
            OpenError::Header(HeaderError::Shape(ShapeError::OutOfBounds { field: "layers", .. }))
        )
    });
    // A list that ends early.
    for cut in [128, 131, 135] {
        assert!(matches!(open(&file[..cut]), Err(OpenError::Header(HeaderError::Short))), "{cut}");
    }
    // Both thetas gone, it is a table of positions, which has another length; another reach is another valid model.
    header(108, &[0; 8], |error| matches!(error, OpenError::Length { .. }));
    assert!(open(&changed(file.clone(), 132, &(1_u32 << 22).to_le_bytes())).is_ok());
}

/// Numbers that are none, infinite or huge, bytes of any value: a result of some kind, no panic, no wild read.
#[test]
fn any_content_is_computed() {
    for shape in [plain(), modern()] {
        for precision in [Precision::Int8, Precision::Fp32] {
            any_content(&shape, precision);
        }
    }
}

fn any_content(shape: &Shape, precision: Precision) {
    let mut random = Random(5);
    let whole = packed_as(shape, precision);
    // What the header says is not content.
    let start = if shape.block == Block::NormAfter { 128 } else { 192 };
    let length = whole.len();
    let fills = [0x00, 0x01, 0x7f, 0x80, 0xff];
    for round in 0..30 {
        let mut bytes = whole.clone();
        match fills.get(round) {
            Some(fill) => bytes[start..].fill(*fill),
            None => {
                for _ in 0..length / 50 {
                    let at = start + usize::try_from(random.below((length - start) as u64)).unwrap();
                    bytes[at] = random.bits().to_le_bytes()[0];
                }
            }
        }
        let mut model = open(&bytes).unwrap();
        for isa in Isa::available() {
            model = model.with_isa(isa);
            let found = model.embed(&[0, 129, 5, 6, 7, 8, 9], &mut Workspace::new(), &Team::new(2));
            assert!(found.iter().all(|(id, logit)| *id < 130 && *logit > 0.0 && logit.is_finite()));
            assert!(found.is_sorted_by_key(|(id, _)| *id));
            let text: &[u32] = &[0, 129, 5];
            let sums =
                model.sum_all(&[text], Saturation::DoubleLog, &mut Workspace::new(), &Team::new(2)).remove(0);
            assert!(sums.iter().all(|(id, weight)| *id < 130 && *weight > 0.0 && weight.is_finite()));
            assert!(sums.is_sorted_by_key(|(id, _)| *id));
        }
    }
}

struct Damaged(Synthetic, Part, fn(&mut Vec<f32>));

impl Tensors for Damaged {
    type Error = std::convert::Infallible;

    fn read(&self, part: Part) -> Result<std::borrow::Cow<'_, [f32]>, Self::Error> {
        let mut numbers = self.0.read(part)?.into_owned();
        if part == self.1 {
            self.2(&mut numbers);
        }
        Ok(numbers.into())
    }

    fn is_tied(&self) -> bool {
        self.0.is_tied
    }
}

#[test]
fn a_damaged_checkpoint_is_named_by_its_part() {
    let shape = Model::shape(&open(&packed()).unwrap()).clone();
    let synthetic = Synthetic { shape: shape.clone(), seed: 1, is_tied: false, decoder_bias: 0.0 };
    let layer = |part| Part::Layer(0, part);
    for part in [
        Part::WordEmbeddings,
        Part::PositionEmbeddings,
        Part::TokenTypeEmbeddings,
        Part::TransformNormBias,
        Part::Decoder,
        Part::DecoderBias,
        layer(LayerPart::KeyWeight),
        layer(LayerPart::AttentionOutputBias),
        layer(LayerPart::OutputWeight),
    ] {
        let short = Damaged(synthetic.clone(), part, |numbers| numbers.truncate(numbers.len() - 1));
        let error = pack(&shape, Precision::Int8, &short, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, PackError::Length { part: found, .. } if found == part), "{error:?}");
        let infinite = Damaged(synthetic.clone(), part, |numbers| numbers[1] = f32::INFINITY);
        let error = pack(&shape, Precision::Int8, &infinite, &mut Vec::new()).unwrap_err();
        assert!(
            matches!(error, PackError::NotFinite { part: found, index: 1 } if found == part),
            "{error:?}"
        );
    }
}
