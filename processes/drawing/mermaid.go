package drawing

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"

	"valence/processes"
)

// most is the number of characters of a text in a Mermaid diagram.
const most = 60

// Mermaid writes the drawing of a process as a Mermaid flowchart.
func Mermaid(w io.Writer, project *processes.Project, p *processes.Process) error {
	pic := pictureOf(project, p)
	c := &chart{}
	c.out.WriteString("flowchart TD\n")
	start := c.node(1, `(["`, `"])`, append([]string{pic.name, pic.trigger}, pic.how...), "start")
	ends := []end{{from: start}}
	if pic.boundary != "" {
		ends = c.boundary(1, ends, pic.boundary)
	}
	c.list(1, pic.steps, ends)
	c.out.WriteString(`  classDef start stroke-width:2px
  classDef durable stroke:#0b7a75,stroke-width:3px
  classDef request stroke:#8a97a5,stroke-dasharray:4 3
  classDef risk stroke:#b34700,stroke-width:3px
  classDef edge stroke:#7a3fb3,stroke-width:2px,stroke-dasharray:6 4
`)
	_, err := w.Write(c.out.Bytes())
	return err
}

// chart collects the statements of a diagram.
type chart struct {
	out bytes.Buffer
	n   int // nodes and groups so far
}

// end is a node from which the path continues.
type end struct{ from, label string }

func (c *chart) indent(depth int) { c.out.WriteString(strings.Repeat("  ", depth)) }

// node writes a node with a shape, and returns its id.
func (c *chart) node(depth int, open, shut string, lines []string, class string) string {
	c.n++
	id := fmt.Sprintf("n%d", c.n)
	c.indent(depth)
	c.out.WriteString(id + open)
	for i, text := range lines {
		if i > 0 {
			c.out.WriteString("<br>")
		}
		c.out.WriteString(quoted(text))
	}
	c.out.WriteString(shut + ":::" + class + "\n")
	return id
}

// boundary writes an asynchronous boundary.
func (c *chart) boundary(depth int, ends []end, text string) []end {
	id := c.node(depth, `{{"`, `"}}`, []string{text}, "edge")
	c.link(depth, ends, id)
	return []end{{from: id}}
}

// link writes the edges to a node.
func (c *chart) link(depth int, ends []end, to string) {
	for _, e := range ends {
		c.indent(depth)
		if e.label == "" {
			fmt.Fprintf(&c.out, "%s --> %s\n", e.from, to)
		} else {
			fmt.Fprintf(&c.out, "%s -->|\"%s\"| %s\n", e.from, quoted(e.label), to)
		}
	}
}

// list writes the steps of a list, and returns the ends of its path.
func (c *chart) list(depth int, steps []*step, ends []end) []end {
	for _, s := range steps {
		ends = c.step(depth, s, ends)
		if s.boundary != "" {
			ends = c.boundary(depth, ends, s.boundary)
		}
	}
	return ends
}

// step writes a step, and returns the ends of the path after it.
func (c *chart) step(depth int, s *step, ends []end) []end {
	open, shut := `["`, `"]`
	switch s.flow {
	case processes.Choice:
		open, shut = `{"`, `"}`
	case processes.Reply, processes.Throw, processes.Stop:
		open, shut = `(["`, `"])`
	case processes.Wait, processes.Sleep:
		open, shut = `[/"`, `"/]`
	}
	id := c.node(depth, open, shut, c.texts(s), classOf(s))
	c.link(depth, ends, id)
	switch {
	case s.flow == processes.Choice:
		return c.choice(depth, s, id)
	case len(s.lists) == 0 && s.ends:
		return nil
	case len(s.lists) == 0:
		return []end{{from: id}}
	}
	return c.nested(depth, s, id)
}

func (c *chart) texts(s *step) []string {
	lines := []string{strings.TrimSpace(s.kind + " " + s.subject)}
	if s.detail != "" {
		lines = append(lines, s.detail)
	}
	var tags []string
	for _, t := range s.tags {
		tags = append(tags, t.text)
	}
	if len(tags) > 0 {
		lines = append(lines, strings.Join(tags, " · "))
	}
	return lines
}

func classOf(s *step) string {
	switch {
	case len(s.tags) > 0 && s.tags[0].class == tagRisk:
		return "risk"
	case s.mark == durable:
		return "durable"
	}
	return "request"
}

// choice writes the lists of a decision, and returns the ends of all of them.
func (c *chart) choice(depth int, s *step, id string) []end {
	var ends []end
	open := true
	for _, l := range s.lists {
		if l.key == "else" || l.key == "default" {
			open = false
		}
		ends = append(ends, c.list(depth, l.steps, []end{{id, l.label}})...)
	}
	if open {
		ends = append(ends, end{id, "otherwise"})
	}
	return ends
}

// nested writes each list of a step as a group. Those after a `try` begin with an
// error, and those of a loop or of paths belong to the step.
func (c *chart) nested(depth int, s *step, id string) []end {
	var ends []end
	for _, l := range s.lists {
		label := l.label
		if s.flow == processes.Loop {
			label = "each"
			if s.kind == "repeat" {
				label = "again"
			}
		}
		c.n++
		c.indent(depth)
		fmt.Fprintf(&c.out, "subgraph g%d[\"%s\"]\n", c.n, quoted(l.label))
		inner := c.list(depth+1, l.steps, []end{{id, label}})
		c.indent(depth)
		c.out.WriteString("end\n")
		if s.flow != processes.Loop {
			ends = append(ends, inner...)
		}
	}
	if s.flow == processes.Loop || s.flow == processes.Wait {
		ends = append(ends, end{id, ""})
	}
	return ends
}

// quoted returns text for a quoted string of Mermaid.
func quoted(s string) string {
	runes := []rune(oneLine(s))
	if len(runes) > most {
		runes = append(runes[:most-1:most-1], '…')
	}
	var b strings.Builder
	for _, r := range runes {
		if r < 0x80 && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" .,:/_-=()+", r) {
			fmt.Fprintf(&b, "#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
