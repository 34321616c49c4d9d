//! QR codes.

use qrcode::{EcLevel, QrCode};

use crate::hub::problem::Refusal;
use crate::hub::store::StoreError;

/// Pixels of a module: a code of the largest version is then 740 wide.
const SCALE: usize = 4;
/// Light modules around the code, as ISO 18004 asks for.
const QUIET: usize = 4;

/// How a code is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Picture {
    /// Lines.
    Svg,
    /// Pixels.
    Png,
}

/// Draws a text as a QR code.
pub(in crate::hub) fn picture(text: &str, picture: Picture) -> Result<Vec<u8>, Refusal> {
    // Least redundancy: a screen does not get dirty, and fewer modules are easier to scan.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| {
        let detail = format!("the profile has {} bytes: too many for a QR code", text.len());
        Refusal::from(StoreError::State { detail })
            .hint("take the .conf file, or let the instance push fewer, larger routes")
    })?;
    match picture {
        Picture::Svg => Ok(svg(&code)),
        Picture::Png => png(&code).map_err(|error| {
            tracing::error!(%error, "a picture cannot be written");
            Refusal::internal()
        }),
    }
}

fn svg(code: &QrCode) -> Vec<u8> {
    code.render::<qrcode::render::svg::Color>().min_dimensions(256, 256).build().into_bytes()
}

fn png(code: &QrCode) -> Result<Vec<u8>, png::EncodingError> {
    let width = code.width();
    let side = (width + 2 * QUIET) * SCALE;
    let is_dark = |x: usize, y: usize| {
        let inside = |at: usize| (at / SCALE).checked_sub(QUIET).filter(|module| *module < width);
        matches!((inside(x), inside(y)), (Some(x), Some(y)) if code[(x, y)] == qrcode::Color::Dark)
    };
    let pixel = |at: usize| if is_dark(at % side, at / side) { 0 } else { u8::MAX };
    let pixels: Vec<u8> = (0..side * side).map(pixel).collect();
    let mut file = Vec::new();
    // A code has at most 177 modules: far below what 32 bits hold.
    let pixels_wide = u32::try_from(side).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut file, pixels_wide, pixels_wide);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}
