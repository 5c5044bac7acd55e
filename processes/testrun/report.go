package testrun

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"valence/internal/spec"
)

// Failures returns the number of runs that failed.
func Failures(results []*Result) int {
	n := 0
	for _, r := range results {
		if r.Status == Failed {
			n++
		}
	}
	return n
}

// WriteText writes results for people: each failed run with its differences. With
// all, it lists passed runs, too.
func WriteText(w io.Writer, results []*Result, all bool) error {
	var b strings.Builder
	for _, r := range results {
		switch {
		case r.Status == Failed:
			b.WriteString("FAIL  " + r.Run.Name() + "\n")
			b.WriteString(r.text())
		case all:
			fmt.Fprintf(&b, "ok    %s (%s)\n", r.Run.Name(), duration(r.Outcome.Took))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// duration returns a virtual time as the files write it.
func duration(d time.Duration) string {
	if d = d.Round(time.Millisecond); d == 0 {
		return "0s"
	}
	return spec.FormatDuration(d)
}

// text returns the failures as diffs.
func (r *Result) text() string {
	var b strings.Builder
	for _, f := range r.Failures {
		b.WriteString(f.text())
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "  … and %d more differences\n", r.More)
	}
	return b.String()
}

// text returns a failure as a diff.
func (f *Failure) text() string {
	var b strings.Builder
	b.WriteString("  ")
	if f.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", f.File, f.Line)
	}
	b.WriteString(f.Field + "\n")
	writeSide(&b, "- want ", f.Want)
	writeSide(&b, "+ got  ", f.Got)
	if f.Note != "" {
		b.WriteString("    " + f.Note + "\n")
	}
	return b.String()
}

// maxShown bounds the characters of a value in a diff.
const maxShown = 2000

func writeSide(b *strings.Builder, label string, v any) {
	text := "nothing"
	switch v := v.(type) {
	case nil:
	case string:
		text = v
	default:
		text = oneLine(v)
	}
	if runes := []rune(text); len(runes) > maxShown {
		text = fmt.Sprintf("%s… (%d characters)", string(runes[:maxShown]), len(runes))
	}
	b.WriteString("    " + label + text + "\n")
}

func oneLine(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Report is the result of all runs as JSON.
type Report struct {
	Tests []*Result `json:"tests"`
}

// The elements of a JUnit report.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes results in the format of JUnit, with one suite per process.
func WriteJUnit(w io.Writer, results []*Result) error {
	all := junitSuites{Tests: len(results), Failures: Failures(results)}
	at := map[string]int{}
	for _, r := range results {
		target := r.Run.Test.Target
		i, ok := at[target]
		if !ok {
			i = len(all.Suites)
			at[target] = i
			all.Suites = append(all.Suites, junitSuite{Name: target})
		}
		s := &all.Suites[i]
		c := junitCase{Name: r.Run.Name(), Class: target, File: r.Run.Test.Pos.File, Line: r.Run.Test.Pos.Line}
		if r.Status == Failed {
			s.Failures++
			c.Failure = &junitFailure{Message: r.Failures[0].Field}
			c.Failure.Text = r.text()
		}
		s.Tests++
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
