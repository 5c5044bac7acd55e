package steps

import (
	"context"
	"errors"
	"strconv"

	"valence/internal/blob"
	"valence/internal/budget"
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
	doc:    "Fails if the document does not match a profile. The error lists the violations with their positions. If the document is the one that a waiting caller sent, the caller gets 400 with the violations, and the execution ends as `rejected`.",
	sample: "- validate: order\n",
}, []spec.Field{
	spec.Ref("validate", func(s *validate) *string { return &s.Name }, "profile", "The profile that the document must match.").Required(),
}, func(s *validate, c *processes.CheckContext) { s.profile = c.Project.Profiles[s.Name] })

func (s *validate) Run(f *Frame) error {
	err := Match(s.profile, f.doc)
	if invalid, ok := err.(*fault.Failure); ok && f.doc == f.sent {
		invalid.OfInput = true
	}
	return err
}

// Match checks a document against a profile. A nil profile matches every
// document.
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
	doc:    "Converts the document between JSON, XML and CSV. Afterwards `doc` is the data and `raw` is the text in the target format.",
	sample: "- convert: { to: xml, root: order }\n", makesDocument: true,
}, []spec.Field{
	spec.Object("convert", func(s *convertStep) *convertSettings { return &s.Settings }, "Source and target format.",
		spec.Enum("from", func(s *convertSettings) *string { return &s.From }, "Format to parse the document's text as. By default the document's data is converted.", "json", "xml", "csv"),
		spec.Enum("to", func(s *convertSettings) *string { return &s.To }, "Target format.", "json", "xml", "csv").Required(),
		spec.String("root", func(s *convertSettings) *string { return &s.Root }, "XML: name of the root element, unless the data is an object with a single key."),
		spec.Bool("header", func(s *convertSettings) *bool { return &s.Header }, "CSV: whether the first line holds the column names.").Or(true),
		spec.String("delimiter", func(s *convertSettings) *string { return &s.Delimiter }, "CSV: column separator.").Or(","),
	).Required(),
}, func(s *convertStep, c *processes.CheckContext) {
	if n := len([]rune(s.Settings.Delimiter)); n != 1 {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "wrong-value", Msg: "`delimiter:` must be one character", Hint: "write a single character; for a tab, write `delimiter: \"\\t\"`"})
	}
})

func (s *convertStep) Run(f *Frame) error {
	data, err := s.read(f.ctx, f.doc)
	if err != nil {
		return convertFailure(err)
	}
	if data == "" {
		return fault.Failf(fault.CodeConvert, "there is no document to convert")
	}
	switch o := s.Settings; o.To {
	case "xml":
		text, err := convert.JSONToXML(f.ctx, data, o.Root, f.Process().Namespaces)
		if err != nil {
			return convertFailure(err)
		}
		view, err := convert.XMLToJSON(f.ctx, text, nil)
		if err != nil {
			return convertFailure(err)
		}
		f.SetResult(document.New(text, "application/xml", string(view)))
	case "csv":
		text, err := convert.JSONToCSV(f.ctx, data, o.Header, []rune(o.Delimiter)[0])
		if err != nil {
			return convertFailure(err)
		}
		view, err := convert.CSVToJSON(f.ctx, text, o.Header, []rune(o.Delimiter)[0])
		if err != nil {
			return convertFailure(err)
		}
		f.SetResult(document.New(text, "text/csv; charset=utf-8", string(view)))
	default:
		f.SetResult(document.FromJSON([]byte(data)))
	}
	return nil
}

// read returns the JSON text of the data to convert.
func (s *convertStep) read(ctx context.Context, d *document.Document) (string, error) {
	if s.Settings.From == "" {
		return d.Data(), nil
	}
	body, media := d.Body(), d.MediaType()
	if blob.IsReference(d) {
		file, err := blob.Body(ctx, d)
		if err == nil {
			body, err = file.Bytes(blob.MaxInline)
		}
		if err != nil {
			return "", err
		}
		media = file.MediaType
	}
	if text, ok := d.Value().(string); ok { // a JSON string, or a text document
		body, media = []byte(text), "text/plain; charset=utf-8"
	}
	doc, err := convert.Decode(ctx, body, convert.Received{Format: s.Settings.From, ContentType: media,
		NoHeader: !s.Settings.Header, Delimiter: []rune(s.Settings.Delimiter)[0]})
	if err != nil {
		return "", err
	}
	return doc.Data(), nil
}

func convertFailure(err error) error {
	var known *fault.Failure
	if errors.As(err, &known) {
		return known
	}
	if f := budget.Failure(err); f != nil {
		return f
	}
	return &fault.Failure{Code: fault.CodeConvert, Message: err.Error(), Cause: err}
}
