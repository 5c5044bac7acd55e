package terminal

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile is text that a caller or a destination could send to take over the
// terminal of an operator.
const hostile = "a\x1b]0;title\x07\x1b[2J\rb\u009b31mc\u202egpj.exe\u2066\u200f\x7f\x00\u2028é 漢 👩‍👧\U000E0041"

// TestTerminalEscapesAreShown checks that no text controls the terminal,
// whatever way it is printed.
func TestTerminalEscapesAreShown(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	table := &Table{Head: []string{"A", "B"}}
	table.Add(hostile+"\nforged\trow", "x")
	flags := map[string]*LogFlags{"text": {LogLevel: "info", LogFormat: "text"}, "json": {LogLevel: "info", LogFormat: "json"}}
	for name, print := range map[string]func() error{
		"plain": func() error { _, err := w.Write([]byte(hostile)); return err },
		"table": func() error { return table.Print(w) },
		"json":  func() error { return EncodeJSON(w, map[string]string{"v": hostile}) },
		"indented": func() error {
			text, err := json.Marshal(map[string]string{"v": hostile})
			if err != nil {
				return err
			}
			return PrintJSON(w, text)
		},
		"text log": func() error { flags["text"].Logger(w).Info(hostile, "k", hostile); return nil },
		"json log": func() error { flags["json"].Logger(w).Info(hostile, slog.String("k", hostile)); return nil },
		"progress": func() error {
			(&Progress{w: &b, enabled: true}).Show(hostile)
			b.Next(len("\r\x1b[K"))
			return nil
		},
		"field": func() error { _, err := w.Write([]byte(Field(hostile, hostile))); return err },
		"bytes": func() error { _, err := w.Write([]byte("\x9b31m\xff")); return err },
	} {
		b.Reset()
		if err := print(); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && r != '\t' && invisible(r) || r == utf8.RuneError {
				t.Errorf("%s: got %q, want no character that controls the terminal", name, b.String())
				break
			}
		}
		if name == "json" || name == "indented" {
			var v map[string]string
			if err := json.Unmarshal(b.Bytes(), &v); err != nil || v["v"] != hostile {
				t.Errorf("%s: got %q, %v, want the same value", name, v["v"], err)
			}
		}
		if name == "table" && strings.Count(b.String(), "\n") != 2 {
			t.Errorf("table: got %q, want one row", b.String())
		}
	}
}

func TestWriterKeepsText(t *testing.T) {
	const text = "plain\n\ttext é 漢\r\n👩‍👧 next"
	var b bytes.Buffer
	if n, err := NewWriter(&b).Write([]byte(text)); n != len(text) || err != nil || b.String() != text {
		t.Errorf("got %q, %d, %v, want it unchanged", b.String(), n, err)
	}
}
