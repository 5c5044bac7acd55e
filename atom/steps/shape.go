package steps

import (
	"strconv"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type validate struct {
	Name    string
	profile *processes.Profile
}

var _ = define[validate]("validate", kind{
	doc:    "Fails, with the positions of what is wrong, when the document does not match a profile.",
	sample: "- validate: order\n",
}, []spec.Field{
	spec.Ref("validate", func(s *validate) *string { return &s.Name }, "profile", "The profile.").Required(),
}, func(s *validate, c *processes.CheckContext) { s.profile = c.Project.Profiles[s.Name] })

func (s *validate) Run(f *Frame) error {
	return Match(s.profile, f.doc)
}

// Match checks a document against a profile; a nil profile matches anything.
func Match(p *processes.Profile, d *document.Document) error {
	if p == nil {
		return nil
	}
	data := d.Data()
	if data == "" {
		data = "null"
	}
	wrong := p.Schema.Validate(data)
	if len(wrong) == 0 {
		return nil
	}
	at := wrong[0].Pointer
	if at == "" {
		at = "it"
	}
	msg := "the document does not match the profile " + p.Name + ": " + at + ": " + wrong[0].Detail
	if len(wrong) > 1 {
		msg += " (and " + strconv.Itoa(len(wrong)-1) + " more)"
	}
	return &fault.Failure{Code: fault.CodeInvalid, Message: msg, Problems: wrong}
}

type convertStep struct{ Settings convertSettings }

type convertSettings struct {
	From, To, Root, Delimiter string
	Header                    bool
}

var _ = define[convertStep]("convert", kind{
	doc:    "Converts the document between JSON, XML and CSV. Afterwards `doc` is the data and `raw` the new text.",
	sample: "- convert: { to: xml, root: order }\n", makesDocument: true,
}, []spec.Field{
	spec.Object("convert", func(s *convertStep) *convertSettings { return &s.Settings }, "The formats.",
		spec.Enum("from", func(s *convertSettings) *string { return &s.From }, "The format of the document's text; without it, the data that the document has.", "json", "xml", "csv"),
		spec.Enum("to", func(s *convertSettings) *string { return &s.To }, "The format wanted.", "json", "xml", "csv").Required(),
		spec.String("root", func(s *convertSettings) *string { return &s.Root }, "XML: the name of the root element, where the data is not an object with a single key."),
		spec.Bool("header", func(s *convertSettings) *bool { return &s.Header }, "CSV: the first line names the columns.").Or(true),
		spec.String("delimiter", func(s *convertSettings) *string { return &s.Delimiter }, "CSV: what separates the columns.").Or(","),
	).Required(),
}, func(s *convertStep, c *processes.CheckContext) {
	if n := len([]rune(s.Settings.Delimiter)); n != 1 {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "wrong-value", Msg: "`delimiter:` must be one character", Hint: "for a tab, write delimiter: \"\\t\""})
	}
})

func (s *convertStep) Run(f *Frame) error {
	data, err := s.read(f.doc)
	if err != nil {
		return convertFailure(err)
	}
	if data == "" {
		return fault.Failf(fault.CodeConvert, "there is no document to convert")
	}
	switch o := s.Settings; o.To {
	case "xml":
		text, err := convert.JSONToXML(data, o.Root)
		if err != nil {
			return convertFailure(err)
		}
		view, err := convert.XMLToJSON(text, nil)
		if err != nil {
			return convertFailure(err)
		}
		f.Give(document.New(text, "application/xml", string(view)))
	case "csv":
		text, err := convert.JSONToCSV(data, o.Header, []rune(o.Delimiter)[0])
		if err != nil {
			return convertFailure(err)
		}
		view, err := convert.CSVToJSON(text, o.Header, []rune(o.Delimiter)[0])
		if err != nil {
			return convertFailure(err)
		}
		f.Give(document.New(text, "text/csv; charset=utf-8", string(view)))
	default:
		f.Give(document.FromJSON([]byte(data)))
	}
	return nil
}

// read gives the JSON text of the data to convert.
func (s *convertStep) read(d *document.Document) (string, error) {
	body := d.Body()
	if text, ok := d.Value().(string); ok { // JSON that carries text, or a text document
		body = []byte(text)
	}
	switch s.Settings.From {
	case "json":
		if err := convert.CheckJSON(body); err != nil {
			return "", err
		}
		return string(body), nil
	case "xml":
		out, err := convert.XMLToJSON(body, nil)
		return string(out), err
	case "csv":
		out, err := convert.CSVToJSON(body, s.Settings.Header, []rune(s.Settings.Delimiter)[0])
		return string(out), err
	}
	return d.Data(), nil
}

func convertFailure(err error) error {
	return &fault.Failure{Code: fault.CodeConvert, Message: err.Error(), Cause: err}
}
