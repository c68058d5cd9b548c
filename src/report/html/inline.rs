//! Style attributes on single elements, for viewers that remove style sheets.
//!
//! Job: keep bars, colours and alignment in the output of an untrusted notebook: JupyterLab removes `<style>` there and
//! keeps `style="..."`. Invariants: the attributes have only properties accepted by JupyterLab's sanitizer. A style
//! sheet, if present, overrides the attributes (its rules for these elements are `!important`), so a trusted notebook
//! looks as before. Caller: `fragment`.

/// Colours of the kinds of time, as in `assets/fragment.css`.
const COLOURS: [(&str, &str); 5] =
    [("py", "#4b7ee6"), ("na", "#c8741a"), ("he", "#a8861c"), ("sy", "#c14f99"), ("wa", "#7f8897")];

/// Start of an element, and the style for such elements.
const STYLES: [(&str, &str); 9] = [
    ("<td class=\"n", "text-align:right;white-space:nowrap"),
    ("<th scope=\"row\" class=\"n", "text-align:right"),
    ("<th scope=\"col\" class=\"n", "text-align:right;white-space:nowrap"),
    ("<td class=\"src\"", "text-align:left;white-space:pre"),
    ("<th scope=\"row\"", "text-align:left;white-space:pre"),
    ("<th scope=\"col\"", "text-align:left;white-space:nowrap"),
    ("<caption", "text-align:left"),
    ("<td", "text-align:left"),
    ("<code", "background-color:transparent;padding:0"),
];

/// `body` with style attributes on its elements. The profile's text is escaped, so each `<` begins a real element.
pub(super) fn inline(body: &str) -> String {
    let mut out = String::with_capacity(body.len() * 3 / 2);
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find('>').map_or(rest.len(), |end| end + 1);
        let tag = &rest[..end];
        match style(tag) {
            Some(style) => out.push_str(&format!("{} style=\"{style}\">", tag.trim_end_matches('>'))),
            None => out.push_str(tag),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn style(tag: &str) -> Option<String> {
    if tag.starts_with("<span class=\"bar") {
        let (wide, tall) = if tag.contains("big") { (560, 16) } else { (80, 9) };
        return Some(format!("display:inline-block;width:{wide}px;height:{tall}px;overflow:hidden;white-space:nowrap"));
    }
    if let Some(classes) = tag.strip_prefix("<i class=\"") {
        let classes = classes.split('"').next().unwrap_or_default();
        let colour = COLOURS.iter().find(|(kind, _)| classes.split(' ').any(|class| class == *kind))?.1;
        let width = classes.split(' ').find_map(|class| class.strip_prefix('w')?.parse::<u8>().ok());
        let size = width.map_or("width:13px;height:9px".to_owned(), |width| format!("width:{width}%;height:100%"));
        return Some(format!("display:inline-block;{size};background-color:{colour}"));
    }
    STYLES.iter().find(|(start, _)| tag.starts_with(start)).map(|(_, style)| (*style).to_owned())
}

#[cfg(test)]
mod tests {
    use super::inline;

    #[test]
    fn bars_numbers_and_source_keep_their_looks_without_a_style_sheet() {
        let bar = inline("<span class=\"bar\" aria-hidden=\"true\"><i class=\"py w34\"></i></span>");
        assert!(
            bar.contains(
                "<i class=\"py w34\" style=\"display:inline-block;width:34%;height:100%;background-color:#4b7ee6\">"
            ),
            "{bar}"
        );
        assert!(bar.contains("width:80px"), "{bar}");
        assert_eq!(
            inline("<td class=\"n\">3 &lt; 4</td>"),
            "<td class=\"n\" style=\"text-align:right;white-space:nowrap\">3 &lt; 4</td>"
        );
        assert!(
            inline("<td class=\"src\"><code>x</code></td>")
                .contains("<code style=\"background-color:transparent;padding:0\">x")
        );
        assert_eq!(inline("<p>plain</p> text"), "<p>plain</p> text");
    }
}
