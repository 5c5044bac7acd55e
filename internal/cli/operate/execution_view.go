package operate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"valence/atom"
	"valence/internal/cli/terminal"
)

// executionView is an execution as the admin API returns it, with the data of
// its documents as text.
type executionView struct {
	atom.ExecutionView
	Input *documentView `json:"input"`
	Reply *documentView `json:"reply"`
	Steps []stepView    `json:"steps"`
}

type stepView struct {
	atom.StepView
	Document *documentView `json:"document"`
}

type documentView struct {
	MediaType string          `json:"media_type"`
	Size      int             `json:"size"`
	Data      json.RawMessage `json:"data"`
	Text      string          `json:"text"`
}

// maxDocument is the number of bytes of a document that are printed.
const maxDocument = 4000

func (d *documentView) text() string {
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
	if len(text) > maxDocument {
		text = strings.ToValidUTF8(text[:maxDocument], "") + "\n… (--json shows all)"
	}
	return text
}

// text returns the execution formatted for reading. Unless all is set, it
// summarizes long loops.
func (v *executionView) text(all bool) string {
	var b strings.Builder
	v.writeFields(&b)
	if v.Input != nil {
		fmt.Fprintf(&b, "\ninput\n%s\n", terminal.Indent(v.Input.text()))
	}
	if len(v.Steps) > 0 {
		b.WriteString("\nsteps\n")
	}
	writeSteps(&b, v.Steps, all)
	if v.StepsDropped > 0 {
		fmt.Fprintf(&b, "  … %s not recorded\n", terminal.Count(v.StepsDropped, "more step was", "more steps were"))
	}
	if v.Reply != nil {
		fmt.Fprintf(&b, "\nreply\n%s\n", terminal.Indent(v.Reply.text()))
	}
	return b.String()
}

// writeFields writes one line for each field that has a value.
func (v *executionView) writeFields(b *strings.Builder) {
	line := func(name, value string) {
		if value != "" {
			b.WriteString(terminal.Field(name, value))
		}
	}
	line("execution", v.Execution)
	line("process", v.Process)
	line("status", status(&v.ExecutionView))
	line("reason", v.Reason)
	line("key", v.Key)
	if v.Ahead > 0 {
		line("ahead", fmt.Sprint(v.Ahead))
	}
	line("blocked by", v.BlockedBy)
	line("received", terminal.Timestamp(&v.ReceivedAt))
	line("started", terminal.Timestamp(v.StartedAt))
	line("ended", terminal.Timestamp(v.EndedAt))
	line("took", duration(&v.ExecutionView))
	line("due", terminal.Timestamp(v.Due))
	if v.Attempts > 0 {
		line("attempts", fmt.Sprint(v.Attempts))
	}
	line("correlation", v.CorrelationID)
	line("parent", v.Parent)
	line("original", v.Original)
	if r := v.Resolution; r != nil {
		line("resolved", strings.TrimSpace(r.How+" "+r.Execution))
	}
	for _, name := range slices.Sorted(maps.Keys(v.Track)) {
		line("track", name+" = "+v.Track[name])
	}
	for _, text := range v.Warnings {
		line("warning", text)
	}
	for e := v.Error; e != nil; e = e.Cause {
		line("error", e.Code+": "+e.Message)
		line("  at", strings.TrimSpace(e.Position+" "+e.Step))
		for _, p := range e.Problems {
			line("  "+p.Pointer, p.Detail)
		}
		line("  answer", terminal.Truncate(e.Body, 300))
	}
}
