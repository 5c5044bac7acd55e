package drawing

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"

	"valence/processes"
)

// style colors a drawing. A viewer that prefers dark gets the second set.
const style = `
:root{color-scheme:light dark;--page:#ffffff;--ink:#16202c;--quiet:#54616f;--line:#8a97a5;--box:#ffffff;--group:#f3f6f9;--lane:#ffffff;--rim:#c3ccd6;--durable:#0b7a75;--request:#a9b4c0;--edge:#7a3fb3;--edgebox:#f1e8fa;--risk:#8f3a00;--riskbox:#fde7d3;--safe:#2b5d34;--safebox:#e2f2e4;--apart:#5a2d91;--apartbox:#efe5fa;--pause:#1d4f91;--pausebox:#e1ecfa;--plainbox:#e9edf1}
@media (prefers-color-scheme:dark){:root{--page:#0f151c;--ink:#e6ebf1;--quiet:#9fabb8;--line:#6d7a88;--box:#1a232d;--group:#141c24;--lane:#10171e;--rim:#3a4755;--durable:#35c2b8;--request:#5b6875;--edge:#c39bf0;--edgebox:#2c2039;--risk:#ffb681;--riskbox:#432512;--safe:#9edba8;--safebox:#17331c;--apart:#cfb0f5;--apartbox:#2e2140;--pause:#a5cbff;--pausebox:#162c48;--plainbox:#27323d}}
text{font-family:ui-sans-serif,system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:var(--ink);white-space:pre}
.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.title,.kind,.label,.edge{font-weight:600}.about,.quiet{fill:var(--quiet)}.edge{fill:var(--edge)}
.page{fill:var(--page)}.box{fill:var(--box);stroke:var(--rim)}.group{fill:var(--group);stroke:var(--rim)}.lane{fill:var(--lane);stroke:var(--rim);stroke-dasharray:2 3}
.durable{fill:var(--durable)}.request{fill:var(--request)}.arrow{stroke:var(--line);stroke-width:1.4;fill:none}.head{fill:var(--line)}
.cut{stroke:var(--edge);stroke-width:1.6;stroke-dasharray:7 4}.edgebox{fill:var(--edgebox);stroke:var(--edge)}
.tag{fill:var(--plainbox)}.risk.tag{fill:var(--riskbox);stroke:var(--risk)}.safe.tag{fill:var(--safebox)}.apart.tag{fill:var(--apartbox)}.pause.tag{fill:var(--pausebox)}
.risk.word{fill:var(--risk)}.safe.word{fill:var(--safe)}.apart.word{fill:var(--apart)}.pause.word{fill:var(--pause)}
`

// SVG writes the drawing of a process as an SVG document. It needs no other file,
// and adapts to dark and light.
func SVG(w io.Writer, project *processes.Project, p *processes.Process) error {
	pic := pictureOf(project, p)
	top := header(pic)
	body := sequence(pic.steps)
	parts := []box{top, trigger(pic)}
	if pic.boundary != "" {
		parts = append(parts, edge(pic.boundary))
	} else {
		parts = append(parts, arrow(true))
	}
	parts = append(parts, body)
	parts = append(parts, legend(pic))
	width, height := minWidth, 0
	for _, b := range parts {
		width, height = max(width, b.w), height+b.h
	}
	c := &canvas{}
	fmt.Fprintf(&c.out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`, width+2*margin, height+2*margin)
	c.out.WriteString("\n<title>")
	c.escape("process " + oneLine(pic.name))
	c.out.WriteString("</title>\n<style>" + style + "</style>\n")
	c.rect("page", 0, 0, width+2*margin, height+2*margin, 0)
	y := margin
	for _, b := range parts {
		b.paint(c, margin, y, width)
		y += b.h
	}
	c.out.WriteString("</svg>\n")
	_, err := w.Write(c.out.Bytes())
	return err
}

// header returns the name and the description of the process.
func header(p *picture) box {
	name := line{}
	name.add(fontTitle, p.name, minWidth)
	lines := []line{}
	for _, text := range fontAbout.wrap(p.description, minWidth, 4) {
		l := line{}
		l.add(fontAbout, text, minWidth)
		lines = append(lines, l)
	}
	_, h := sizeOf(lines)
	h += 44
	return box{minWidth, h, func(c *canvas, x, y, _ int) {
		c.lines([]line{name}, x, y)
		c.lines(lines, x, y+24)
	}}
}

// trigger returns the box of the trigger.
func trigger(p *picture) box {
	first := line{}
	first.add(fontSubject, p.trigger, maxText)
	lines := []line{first}
	for _, text := range p.how {
		l := line{}
		l.add(fontSmall, text, maxText+60)
		lines = append(lines, l)
	}
	w, h := sizeOf(lines)
	h += 2*padding - 4
	return box{w + 4*padding, h, func(c *canvas, x, y, across int) {
		x += (across - w - 4*padding) / 2
		c.rect("group", x, y, w+4*padding, h, h/2)
		c.lines(lines, x+2*padding, y+padding)
	}}
}

// legend explains the signs that the picture has.
func legend(p *picture) box {
	type entry struct{ class, text string }
	var all []entry
	if p.has(func(s *step) bool { return s.mark == durable }) {
		all = append(all, entry{"durable", "durable: after a crash it goes on here"})
	}
	if p.has(func(s *step) bool { return s.mark == inRequest }) {
		all = append(all, entry{"request", "in the request: a crash ends it"})
	}
	if p.has(func(s *step) bool { return len(s.tags) > 0 && s.tags[0].class == tagRisk }) {
		all = append(all, entry{"risk tag", "a repeated call may have its effect twice"})
	}
	h := 18 + len(all)*lineHeight
	return box{minWidth, h, func(c *canvas, x, y, _ int) {
		for i, e := range all {
			at := y + 18 + i*lineHeight
			c.rect(e.class, x, at+2, 11, 11, 2)
			l := line{}
			l.add(fontSmall, e.text, minWidth-20)
			c.lines([]line{l}, x+20, at)
		}
	}}
}

// canvas collects the elements of an SVG document.
type canvas struct{ out bytes.Buffer }

func (c *canvas) escape(s string) { _ = xml.EscapeText(&c.out, []byte(s)) } // a buffer cannot fail

func (c *canvas) rect(class string, x, y, w, h, r int) {
	fmt.Fprintf(&c.out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"`, class, x, y, w, h)
	if r > 0 {
		fmt.Fprintf(&c.out, ` rx="%d"`, r)
	}
	c.out.WriteString("/>\n")
}

// frame draws the rectangle of a step, with its position as a tooltip.
func (c *canvas) frame(s *step, class string, x, y, w, h int) {
	fmt.Fprintf(&c.out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="7"><title>`, class, x, y, w, h)
	c.escape(oneLine(s.position))
	c.out.WriteString("</title></rect>\n")
	mark := "request"
	if s.mark == durable {
		mark = "durable"
	}
	c.rect(mark, x, y+5, 5, h-10, 2)
}

func (c *canvas) lane(x, y, w, h int) { c.rect("lane", x, y, w, h, 6) }

// lines writes lines of text below each other.
func (c *canvas) lines(lines []line, x, y int) {
	for i := range lines {
		l := &lines[i]
		at := x
		for _, s := range l.spans {
			c.text(s, s.font.class, at, y+12)
			at += pixels(s.font.width(s.text)) + spanGap
		}
		for _, t := range l.tags {
			c.rect(t.class+" tag", at, y+2, t.width(), tagHeight, tagHeight/2)
			c.text(span{font: fontTag, text: t.text}, t.class+" word", at+7, y+15)
			at += t.width() + tagGap
		}
		_, h := l.size()
		y += h
	}
}

func (c *canvas) text(s span, class string, x, y int) {
	fmt.Fprintf(&c.out, `<text class="%s" x="%d" y="%d" font-size="%g"`, class, x, y, s.font.size)
	if foreign(s.text) {
		fmt.Fprintf(&c.out, ` textLength="%d" lengthAdjust="spacingAndGlyphs"`, pixels(s.font.width(s.text)))
	}
	c.out.WriteString(">")
	if s.full != "" {
		c.out.WriteString("<title>")
		c.escape(s.full)
		c.out.WriteString("</title>")
	}
	c.escape(s.text)
	c.out.WriteString("</text>\n")
}

// arrow draws an arrow downwards.
func (c *canvas) arrow(x, from, to int) {
	fmt.Fprintf(&c.out, `<path class="arrow" d="M%d %dV%d"/><path class="head" d="M%d %dl-4 -7h8z"/>`+"\n", x, from+1, to-6, x, to)
}

// edge draws an asynchronous boundary with its text in the middle.
func (c *canvas) edge(l line, x, y, across, w int) {
	fmt.Fprintf(&c.out, `<path class="cut" d="M%d %dh%d"/>`+"\n", x, y+edgeHeight/2, across)
	left := x + (across-w-20)/2
	c.rect("edgebox", left, y+2, w+20, edgeHeight-4, 11)
	c.lines([]line{l}, left+10, y+5)
}
