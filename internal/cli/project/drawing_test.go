package project

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"valence/internal/fault"
	"valence/processes"
	"valence/processes/drawing"
	"valence/processes/loader"
)

// TestDrawings draws every process of the examples, and checks that its texts fit
// into their boxes and that no two boxes overlap.
func TestDrawings(t *testing.T) {
	folders, err := filepath.Glob("../../../examples/*")
	if err != nil {
		t.Fatal(err)
	}
	drawn := 0
	for _, folder := range folders {
		files, err := loader.ReadDir(folder)
		if err != nil || len(files) == 0 {
			continue // no project
		}
		p, _ := loader.Load(files, Catalog())
		for _, name := range slices.Sorted(maps.Keys(p.Processes)) {
			checkDrawing(t, p, p.Processes[name])
			drawn++
		}
	}
	if drawn < 25 {
		t.Errorf("got %d drawings, want those of all examples", drawn)
	}
}

// hostile has long, wide, foreign and dangerous texts in every place, and deep
// and wide nesting.
const hostile = `process: p
description: "</svg><script>alert(1)</script> ]]> & \u202e %%{init}%%"
steps:
  - switch: ${doc.kind ?? "x"}
    cases:
      "</text><script>alert(1)</script>": [ { log: "end" }, { stop: "\"]; click n1 call evil()" } ]
      "` + "```" + `mermaid": []
      end: [ { log: "subgraph end %% --> | \" ' # ; < > ` + "`" + `" } ]
      三日月: [ { log: 日本語のとても長い説明文がここに書かれています。日本語のとても長い説明文がここに書かれています } ]
      f: [ { throw: "🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂" } ]
    default: []
  - branch: { a: [ { map: { "]]>&<": 1, "\u0085\u200b": 2 } } ], b: [], c: [ { log: "` + "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW" + `" } ] }
  - try: [ { log: "${1}" } ]
    catch: []
    finally: []
  - repeat: { max: 3, until: "${1 == 1}", steps: [ { log: x } ] }
`

// TestHostileDrawings draws a process with hostile names and a deeply nested one.
func TestHostileDrawings(t *testing.T) {
	deep := "process: p\nsteps:\n"
	for i := range 20 {
		pad := strings.Repeat("  ", i*2+1)
		deep += pad + "- if: ${doc.a == " + strconv.Itoa(i) + "}\n" + pad + "  then:\n"
	}
	deep += strings.Repeat("  ", 41) + "- log: here\n"
	for name, text := range map[string]string{"hostile": hostile, "deep": deep} {
		p, problems := loader.Load([]processes.File{{Name: "p.yaml", Content: []byte(text)}}, Catalog())
		for _, problem := range problems {
			if problem.Severity == fault.Error && problem.Code != "bad-name" {
				t.Fatalf("%s: %v", name, problem)
			}
		}
		svg := checkDrawing(t, p, p.Processes["p"])
		if strings.Contains(svg, "<script") || strings.Contains(svg, "\u202e") {
			t.Errorf("%s: got markup or direction marks of the process in the drawing", name)
		}
		var b bytes.Buffer
		if err := drawing.Mermaid(&b, p, p.Processes["p"]); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(b.String(), "\n") {
			if strings.Count(line, `"`)%2 != 0 || strings.Contains(line, "`") || strings.Contains(line, "%%") || strings.Contains(line, "<script") {
				t.Errorf("%s: got the line %q, want quoted text", name, line)
			}
		}
	}
}

// rectangle is one box of a drawing, or the extent of a text.
type rectangle struct {
	what       string
	x, y, w, h float64
}

func (r rectangle) contains(o rectangle) bool {
	return o.x >= r.x && o.y >= r.y && o.x+o.w <= r.x+r.w && o.y+o.h <= r.y+r.h
}

func (r rectangle) disjoint(o rectangle) bool {
	return o.x >= r.x+r.w || r.x >= o.x+o.w || o.y >= r.y+r.h || r.y >= o.y+o.h
}

// checkDrawing checks the SVG document of a process, and returns it.
func checkDrawing(t *testing.T, p *processes.Project, process *processes.Process) string {
	t.Helper()
	var b, again bytes.Buffer
	if err := errors.Join(drawing.SVG(&b, p, process), drawing.SVG(&again, p, process)); err != nil {
		t.Fatal(err)
	}
	if b.String() != again.String() {
		t.Errorf("%s: got two drawings, want the same", process.Name)
	}
	var boxes, texts []rectangle
	decoder := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", process.Name, err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "rect":
			boxes = append(boxes, extent(t, e))
		case "text":
			r := extent(t, e)
			text, err := decoder.Token()
			if title, ok := text.(xml.StartElement); ok && err == nil {
				err = decoder.DecodeElement(new(string), &title)
				if err == nil {
					text, err = decoder.Token()
				}
			}
			data, ok := text.(xml.CharData)
			if err != nil || !ok {
				t.Fatalf("%s: got %v, %v, want a text", process.Name, text, err)
			}
			r.what = string(data)
			size := value(t, e, "font-size")
			if r.w == 0 {
				r.w = 0.5 * size * float64(len([]rune(r.what)))
			}
			r.y, r.h = r.y-size, size
			texts = append(texts, r)
		}
	}
	compareBoxes(t, process.Name, boxes, texts)
	return b.String()
}

func compareBoxes(t *testing.T, name string, boxes, texts []rectangle) {
	t.Helper()
	for i, a := range boxes {
		for _, o := range boxes[i+1:] {
			if !a.disjoint(o) && !a.contains(o) && !o.contains(a) {
				t.Errorf("%s: the boxes %v and %v overlap", name, a, o)
			}
		}
	}
	for i, a := range texts {
		for _, o := range texts[i+1:] {
			if !a.disjoint(o) {
				t.Errorf("%s: the texts %v and %v overlap", name, a, o)
			}
		}
		for _, o := range boxes {
			if !a.disjoint(o) && !o.contains(a) {
				t.Errorf("%s: the text %v crosses the box %v", name, a, o)
			}
		}
	}
}

func extent(t *testing.T, e xml.StartElement) rectangle {
	return rectangle{fmt.Sprint(e.Attr), value(t, e, "x"), value(t, e, "y"), value(t, e, "width") + value(t, e, "textLength"), value(t, e, "height")}
}

func value(t *testing.T, e xml.StartElement, name string) float64 {
	t.Helper()
	for _, a := range e.Attr {
		if a.Name.Local == name {
			v, err := strconv.ParseFloat(a.Value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}
