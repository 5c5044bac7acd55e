package drawing

import "valence/processes"

// The distances of a drawing, in pixels.
const (
	margin     = 20
	padding    = 12  // inside a box
	gap        = 22  // between the steps of a list, for the arrow
	columnGap  = 14  // between lists side by side
	lineHeight = 17  // of a line of a box
	tagHeight  = 18  // of a tag
	edgeHeight = 26  // of an asynchronous boundary
	maxText    = 330 // widest text of a box
	// maxBoundary is the widest text of an asynchronous boundary.
	maxBoundary = 560
	maxRow      = 980 // wider rows of lists are stacked
	minWidth    = 430 // of a drawing, for its legend
)

// box is a part of a drawing with its size. paint draws it at a position with a
// width that is at least its own.
type box struct {
	w, h  int
	paint func(c *canvas, x, y, w int)
}

// span is a text in one font.
type span struct {
	font font
	text string // clipped
	full string // empty if it is not clipped
}

// line is one line of a box: texts, or tags.
type line struct {
	spans []span
	tags  []tag
}

func (l *line) add(f font, text string, most float64) {
	text = oneLine(text)
	if text == "" {
		return
	}
	s := span{font: f, text: f.clip(text, most)}
	if s.text != text {
		s.full = text
	}
	l.spans = append(l.spans, s)
}

const spanGap, tagGap = 7, 6

func (t tag) width() int { return pixels(fontTag.width(t.text)) + 14 }

func (l *line) size() (w, h int) {
	for _, s := range l.spans {
		w += pixels(s.font.width(s.text)) + spanGap
	}
	for _, t := range l.tags {
		w += t.width() + tagGap
	}
	if len(l.tags) > 0 {
		return max(w-tagGap, 0), tagHeight + 4
	}
	return max(w-spanGap, 0), lineHeight
}

// linesOf returns the lines of a step, which are at most as wide as a text may be.
func linesOf(s *step, most float64) []line {
	first := line{}
	first.add(fontKind, s.kind, most)
	first.add(fontSubject, s.subject, most-fontKind.width(s.kind)-spanGap)
	out := []line{first}
	if s.detail != "" {
		l := line{}
		l.add(fontDetail, s.detail, most)
		out = append(out, l)
	}
	tags := line{}
	for _, t := range s.tags {
		if w, _ := tags.size(); w > 0 && w+tagGap+t.width() > int(most) {
			out = append(out, tags)
			tags = line{}
		}
		tags.tags = append(tags.tags, t)
	}
	if len(tags.tags) > 0 {
		out = append(out, tags)
	}
	return out
}

func sizeOf(lines []line) (w, h int) {
	for i := range lines {
		lw, lh := lines[i].size()
		w, h = max(w, lw), h+lh
	}
	return w, h
}

// boxOf returns the box of a step.
func boxOf(s *step) box {
	inside := listsOf(s)
	lines := linesOf(s, float64(max(maxText, inside.w-6)))
	w, h := sizeOf(lines)
	head := h + 2*padding - 4
	w += 2*padding + 6
	if len(s.lists) == 0 {
		return box{w, head, func(c *canvas, x, y, w int) {
			c.frame(s, "box", x, y, w, head)
			c.lines(lines, x+padding+6, y+padding)
		}}
	}
	w = max(w, inside.w+2*padding)
	h = head + inside.h + padding
	return box{w, h, func(c *canvas, x, y, w int) {
		c.frame(s, "group", x, y, w, h)
		c.lines(lines, x+padding+6, y+padding)
		inside.paint(c, x+padding, y+head, w-2*padding)
	}}
}

// listsOf returns the lists of a step: side by side, or one below the other if
// they are too wide or run one after the other.
func listsOf(s *step) box {
	if len(s.lists) == 0 {
		return box{}
	}
	var all []box
	row := 0
	for _, l := range s.lists {
		b := column(l, len(s.lists) > 1 || s.flow == processes.Choice || s.flow == processes.Wait)
		all = append(all, b)
		row += b.w + columnGap
	}
	row -= columnGap
	if row > maxRow {
		return stacked(all)
	}
	h := 0
	for _, b := range all {
		h = max(h, b.h)
	}
	return box{row, h, func(c *canvas, x, y, w int) {
		extra := w - row
		for i, b := range all {
			more := extra / (len(all) - i)
			extra -= more
			c.lane(x, y, b.w+more, h)
			b.paint(c, x, y, b.w+more)
			x += b.w + more + columnGap
		}
	}}
}

func stacked(all []box) box {
	out := box{}
	for _, b := range all {
		out.w, out.h = max(out.w, b.w), out.h+b.h+columnGap
	}
	out.h -= columnGap
	out.paint = func(c *canvas, x, y, w int) {
		for _, b := range all {
			c.lane(x, y, w, b.h)
			b.paint(c, x, y, w)
			y += b.h + columnGap
		}
	}
	return out
}

// column returns the box of a list with its label.
func column(l list, labelled bool) box {
	in := sequence(l.steps)
	head := padding
	label := line{}
	if labelled {
		label.add(fontLabel, l.label, maxText)
		head += lineHeight + 3
	}
	lw, _ := label.size()
	w := max(in.w, lw) + 2*padding
	h := head + in.h + padding
	return box{w, h, func(c *canvas, x, y, w int) {
		c.lines([]line{label}, x+padding, y+padding-4)
		in.paint(c, x+padding, y+head, w-2*padding)
	}}
}

// sequence returns the box of the steps of a list, with arrows between them.
func sequence(steps []*step) box {
	if len(steps) == 0 {
		l := line{}
		l.add(fontSmall, "nothing", maxText)
		w, _ := l.size()
		return box{w, lineHeight, func(c *canvas, x, y, _ int) { c.lines([]line{l}, x, y) }}
	}
	var all []box
	out := box{}
	push := func(b box) { all, out.w, out.h = append(all, b), max(out.w, b.w), out.h+b.h }
	for i, s := range steps {
		if i > 0 && steps[i-1].boundary == "" {
			push(arrow(!steps[i-1].ends))
		}
		push(boxOf(s))
		if s.boundary != "" {
			push(edge(s.boundary))
		}
	}
	out.paint = func(c *canvas, x, y, w int) {
		for _, b := range all {
			b.paint(c, x, y, w)
			y += b.h
		}
	}
	return out
}

// arrow returns the arrow between two steps, or only its room.
func arrow(drawn bool) box {
	return box{0, gap, func(c *canvas, x, y, w int) {
		if drawn {
			c.arrow(x+w/2, y, y+gap)
		}
	}}
}

// edge returns an asynchronous boundary with the arrows around it.
func edge(text string) box {
	l := line{}
	l.add(fontEdge, text, maxBoundary)
	w, _ := l.size()
	h := edgeHeight + 2*gap
	return box{w + 24, h, func(c *canvas, x, y, across int) {
		c.arrow(x+across/2, y, y+gap)
		c.edge(l, x, y+gap, across, w)
		c.arrow(x+across/2, y+gap+edgeHeight, y+h)
	}}
}
