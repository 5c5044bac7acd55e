package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"valence/atom"
)

// shownExecution is an execution as the admin plane shows it, its documents'
// data still as text.
type shownExecution struct {
	atom.View
	Input *shownDocument `json:"input"`
	Reply *shownDocument `json:"reply"`
	Steps []struct {
		atom.StepView
		Document *shownDocument `json:"document"`
	} `json:"steps"`
}

type shownDocument struct {
	MediaType string          `json:"media_type"`
	Size      int             `json:"size"`
	Data      json.RawMessage `json:"data"`
	Text      string          `json:"text"`
}

// longestDocument is how much of a document is shown.
const longestDocument = 4000

func (d *shownDocument) text() string {
	var text string
	switch {
	case len(d.Data) > 0:
		var b bytes.Buffer
		if json.Indent(&b, d.Data, "", "  ") != nil {
			return string(d.Data)
		}
		text = b.String()
	case d.Text != "":
		text = d.Text
	case d.Size == 0:
		return "(empty)"
	default:
		return fmt.Sprintf("(%d bytes of %s)", d.Size, d.MediaType)
	}
	if len(text) > longestDocument {
		text = strings.ToValidUTF8(text[:longestDocument], "") + "\n… (--json shows all)"
	}
	return text
}

// text is the execution for reading.
func (v *shownExecution) text() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, value)
		}
	}
	line("execution", v.Execution)
	line("process", v.Process)
	line("status", v.Status)
	line("reason", v.Reason)
	line("key", v.Key)
	if v.Ahead > 0 {
		line("ahead", fmt.Sprint(v.Ahead))
	}
	line("blocked by", v.BlockedBy)
	line("received", stamp(&v.ReceivedAt))
	line("started", stamp(v.StartedAt))
	line("ended", stamp(v.EndedAt))
	line("took", took(&v.View))
	line("due", stamp(v.Due))
	if v.Attempts > 0 {
		line("attempts", fmt.Sprint(v.Attempts))
	}
	line("correlation", v.CorrelationID)
	line("parent", v.Parent)
	line("original", v.Original)
	if r := v.Resolution; r != nil {
		line("resolved", strings.TrimSpace(r.How+" "+r.Execution))
	}
	for _, name := range sortedKeys(v.Track) {
		line("track", name+" = "+v.Track[name])
	}
	for e := v.Error; e != nil; e = e.Cause {
		line("error", e.Code+": "+e.Message)
		line("  at", strings.TrimSpace(e.Position+" "+e.Step))
		for _, p := range e.Problems {
			line("  "+p.Pointer, p.Detail)
		}
		line("  answer", cut(e.Body, 300))
	}
	if v.Input != nil {
		fmt.Fprintf(&b, "\ninput\n%s\n", indent(v.Input.text()))
	}
	if len(v.Steps) > 0 {
		b.WriteString("\nsteps\n")
	}
	for _, s := range v.Steps {
		fmt.Fprintf(&b, "  %-8s %s", s.Outcome, s.Kind)
		if s.Name != "" {
			fmt.Fprintf(&b, " %s", s.Name)
		}
		b.WriteString("  (")
		if s.Position != "" {
			b.WriteString(s.Position + ", ")
		}
		b.WriteString(span(time.Duration(s.TookMS * float64(time.Millisecond))))
		if s.Status != 0 {
			fmt.Fprintf(&b, ", status %d", s.Status)
		}
		if s.Attempts > 1 {
			fmt.Fprintf(&b, ", %d attempts", s.Attempts)
		}
		b.WriteString(")\n")
		if s.Log != "" {
			fmt.Fprintf(&b, "%s\n", indent(s.Log))
		}
		if s.Error != nil {
			fmt.Fprintf(&b, "%s\n", indent(s.Error.Code+": "+s.Error.Message))
		}
		if s.Document != nil {
			fmt.Fprintf(&b, "%s\n", indent(s.Document.text()))
		}
	}
	if v.Reply != nil {
		fmt.Fprintf(&b, "\nreply\n%s\n", indent(v.Reply.text()))
	}
	return b.String()
}

func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05.000 -07:00")
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
