package tests

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"valence/atom/sandbox"
	"valence/internal/cli/message"
	"valence/internal/clierror"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/testrun"
)

// maxInline is the size of the JSON up to which a value is written into the test.
const maxInline = 300

var (
	notInSlug    = regexp.MustCompile(`[^a-z0-9]+`)
	notInName    = regexp.MustCompile(`[^A-Za-z0-9.-]+`)
	simpleText   = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_/.-]*( [A-Za-z0-9_/.-]+)*$`)
	simpleNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?$`)
	reserved     = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n|nan|inf)$`)
)

// slug returns a text as the name of a file.
func slug(text string) string {
	s := strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(text), "-"), "-")
	return strings.Trim(s[:min(len(s), 60)], "-")
}

// message returns the setup of the test that the flags describe.
func (r *recording) message(f *message.Flags, stdin io.Reader) (processes.TestSetup, error) {
	var setup processes.TestSetup
	text, media, ok, err := f.Read(stdin)
	if err != nil {
		return setup, err
	}
	if ok {
		setup.Input = &processes.Fixture{Pos: r.target.Pos, Content: text}
		if media != "" {
			setup.Input.File = "input" + ending(media)
		}
	}
	props, err := f.Props()
	if err != nil {
		return setup, err
	}
	if props != nil {
		o := &document.Object{}
		for _, name := range slices.Sorted(maps.Keys(props)) {
			o.Set(name, document.Parse(string(props[name])))
		}
		setup.Props = document.AppendJSON(nil, o)
	}
	request, err := f.Request()
	if err != nil || request == nil {
		return setup, err
	}
	if r.target.Listen == nil {
		return setup, clierror.Usage("--document, and --prop for properties", "the process %s has no listener, which a request needs", r.target.Name)
	}
	setup.Request = &processes.TestRequest{Method: request.Method}
	for _, name := range slices.Sorted(maps.Keys(request.Params)) {
		setup.Request.Params = append(setup.Request.Params, processes.NamedText{Name: name, Value: request.Params[name]})
	}
	setup.Request.Query, setup.Request.Headers = named(request.Query), named(request.Headers)
	return setup, nil
}

func named(m map[string][]string) []processes.NamedText {
	var list []processes.NamedText
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, v := range m[name] {
			list = append(list, processes.NamedText{Name: name, Value: v})
		}
	}
	return list
}

// ending returns the ending of a file with a media type.
func ending(media string) string {
	kind, _, _ := mime.ParseMediaType(media)
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return ".json"
	case kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml"):
		return ".xml"
	case kind == "text/csv":
		return ".csv"
	case strings.HasPrefix(kind, "text/"):
		return ".txt"
	}
	return ".bin"
}

// draft is a test in the making with its fixtures.
type draft struct {
	*recording
	root        *yaml.Node
	files       []processes.File
	expressions []string // of the project
}

// build makes the test: first without expectations, to see the run with mocks,
// and then with them.
func (r *recording) build(ctx context.Context, setup processes.TestSetup, real *testrun.Outcome, answers []*sandbox.Answered) (*recorded, []processes.File, error) {
	d := r.draft(setup, answers)
	p, _, run, err := r.load(d.all())
	if err != nil {
		return nil, nil, err
	}
	s, err := run.Scenario(p.Processes[run.Test.Target])
	if err != nil {
		return nil, nil, err
	}
	mocked, err := sandbox.New(p).Run(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if !alike(real, mocked) {
		mocked = real // the failures of the test show the difference
		if d.hide.hidden {
			mocked = withoutValues(real) // they may have a hidden value under another name
		}
	}
	settled := d.expect(real, mocked)
	files := d.all()
	p, all, run, err := r.load(files)
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	result := testrun.RunAll(ctx, sandbox.New(p), p, all, []*testrun.Run{run})[0]
	out := &recorded{
		Test: r.name, Process: r.target.Name, Status: real.Status, Error: r.hide.text(failureText(real.Error)), Calls: len(real.Calls), LeftOut: settled.leftOut,
		Passed: result.Status == testrun.Passed, Failures: result.Failures, result: result, took: time.Since(began),
	}
	if out.LeftOut == nil {
		out.LeftOut = []string{}
	}
	for _, f := range files {
		if masked := r.project.Masks.Bytes(f.Content); !bytes.Equal(masked, f.Content) {
			return nil, nil, clierror.Failed("write the test by hand", "%s would have a secret, so nothing is written", f.Name)
		}
		out.Files = append(out.Files, f.Name)
	}
	return out, files, nil
}

// alike reports whether two runs took the same way.
func alike(a, b *testrun.Outcome) bool {
	operations := func(o *testrun.Outcome) []string {
		var list []string
		for _, c := range o.Calls {
			list = append(list, c.Operation)
		}
		return list
	}
	return len(b.Unanswered)+len(b.Broken) == 0 && a.Status == b.Status && a.ReplyStatus == b.ReplyStatus && slices.Equal(operations(a), operations(b))
}

// withoutValues returns an outcome without the values of its calls and its reply.
func withoutValues(o *testrun.Outcome) *testrun.Outcome {
	out := *o
	out.Reply, out.Calls = nil, nil
	for _, c := range o.Calls {
		bare := *c
		bare.With, bare.Body = nil, nil
		out.Calls = append(out.Calls, &bare)
	}
	return &out
}

// redacted returns a document without the values that a process of the run
// redacts.
func (d *draft) redacted(doc *document.Document) *document.Document {
	for _, name := range slices.Sorted(maps.Keys(d.reached)) {
		doc = d.sandbox.Redacted(name, doc)
	}
	return doc
}

// all returns the files of the test.
func (d *draft) all() []processes.File {
	var b bytes.Buffer
	b.WriteString("# Recorded from real calls. Values, secrets and credentials are placeholders.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(d.root); err != nil {
		panic(err) // every node is built here
	}
	return append([]processes.File{{Name: d.file(), Content: b.Bytes()}}, d.files...)
}

func (r *recording) draft(setup processes.TestSetup, answers []*sandbox.Answered) *draft {
	d := &draft{recording: r, root: mapping(), expressions: expressionsOf(r.loaded.Files)}
	add(d.root, "test", scalar(r.name))
	add(d.root, "target", scalar(r.target.Name))
	if in := setup.Input; in != nil {
		if in.File == "" {
			in := d.redacted(document.FromJSON(in.Content))
			add(d.root, "input", d.json("input", r.hide.json(in.Value()), true))
		} else {
			add(d.root, "input", d.content("input", r.input, in.Content, ending(r.input.MediaType()), true))
		}
	}
	d.request(setup.Request)
	if setup.Props != nil {
		add(d.root, "props", node(r.hide.value(document.Parse(string(setup.Props)))))
	}
	mocks := mapping()
	for _, operation := range operations(answers) {
		add(mocks, operation, d.mock(operation, answers))
	}
	if len(mocks.Content) > 0 {
		add(d.root, "mocks", mocks)
	}
	return d
}

// request adds the request, without its credentials.
func (d *draft) request(q *processes.TestRequest) {
	if q == nil {
		return
	}
	n, comment := mapping(), ""
	if q.Method != "" {
		add(n, "method", scalar(q.Method))
	}
	list := func(key string, from []processes.NamedText, omit bool) {
		m := mapping()
		for _, kv := range from {
			if omit && credential.MatchString(kv.Name) {
				comment += ", " + kv.Name
				continue
			}
			add(m, kv.Name, scalar(d.hide.member(kv.Name, kv.Value)))
		}
		if len(m.Content) > 0 {
			add(n, key, short(m))
		}
	}
	list("params", q.Params, false)
	list("query", q.Query, false)
	list("headers", q.Headers, true)
	if len(n.Content) == 0 {
		return
	}
	key := add(d.root, "request", short(n))
	if comment != "" {
		key.HeadComment = "not written, because they are credentials: " + strings.TrimPrefix(comment, ", ")
	}
}

// operations returns the operations in the order of their first call.
func operations(answers []*sandbox.Answered) []string {
	var list []string
	for _, a := range answers {
		if !slices.Contains(list, a.Operation) {
			list = append(list, a.Operation)
		}
	}
	return list
}

// mock returns the answers of an operation in order. Equal answers at the end are
// one, because the last answer repeats.
func (d *draft) mock(operation string, answers []*sandbox.Answered) *yaml.Node {
	var list []*yaml.Node
	before, first := "", len(d.files)
	for _, a := range answers {
		if a.Operation != operation {
			continue
		}
		at := len(d.files)
		n := d.answer(a, fmt.Sprintf("%s-%d", operation, len(list)+1))
		now := nodeText(n) + contents(d.files[at:])
		if len(list) > 0 && now == before && at == first {
			d.files = d.files[:at]
			continue
		}
		before, first = now, at
		list = append(list, n)
	}
	if len(list) == 1 {
		return list[0]
	}
	return &yaml.Node{Kind: yaml.SequenceNode, Content: list}
}

func contents(files []processes.File) string {
	var b strings.Builder
	for _, f := range files {
		b.Write(f.Content)
	}
	return b.String()
}

// nodeText returns a node as text, to compare it.
func nodeText(n *yaml.Node) string {
	text, err := yaml.Marshal(n)
	if err != nil {
		panic(err) // every node is built here
	}
	return string(text)
}

// answer returns one answer of a mock.
func (d *draft) answer(a *sandbox.Answered, name string) *yaml.Node {
	n := mapping()
	if f := a.Failed; f != nil {
		if f.Code != fault.CodeStatus {
			add(n, "fail", failNode(f))
			return short(n)
		}
		add(n, "status", number(strconv.Itoa(f.Status)))
		if len(f.Body) > 0 {
			doc, end := document.FromText(string(f.Body)), ".txt"
			if isJSON(f.Body) {
				doc, end = document.FromJSON(f.Body), ".json"
			}
			add(n, "reply", d.content(name, doc, f.Body, end, false))
		}
		if f.RetryAfter > 0 {
			add(n, "headers", short(pair("Retry-After", scalar(strconv.Itoa(int(f.RetryAfter/time.Second))))))
		}
		return short(n)
	}
	r := a.Result
	if r.Doc != nil && len(r.Doc.Body()) > 0 {
		add(n, "reply", d.reply(name, r.Doc))
	}
	if r.Status != 0 && r.Status != http.StatusOK {
		add(n, "status", number(strconv.Itoa(r.Status)))
	}
	if h := d.headers(r.Headers); h != nil {
		add(n, "headers", h)
	}
	return short(n)
}

func failNode(f *fault.Failure) *yaml.Node {
	if f.Status == 0 && f.Retryable == fault.Retryable(f.Code) {
		return scalar(f.Code)
	}
	n := pair("code", scalar(f.Code))
	if f.Status != 0 {
		add(n, "status", number(strconv.Itoa(f.Status)))
	}
	if f.Retryable {
		add(n, "retryable", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})
	}
	return short(n)
}

// reply returns the document of an answer as it is, or its data if a mock cannot
// parse it in the same way.
func (d *draft) reply(name string, doc *document.Document) *yaml.Node {
	body, end := doc.Body(), ending(cmp.Or(doc.MediaType(), "application/json"))
	var data []byte
	var err error
	switch end {
	case ".xml":
		data, err = convert.XMLToJSON(context.Background(), body, nil)
	case ".csv":
		data, err = convert.CSVToJSON(context.Background(), body, true, ',')
	default:
		return d.content(name, doc, body, end, false)
	}
	if err != nil || string(data) != doc.Data() {
		v := document.Decode(d.redacted(doc).Value())
		if text, isText := v.(string); isText {
			v = d.hide.content(d.hide.csv(text, data))
		}
		return d.json(name, d.hide.json(v), false)
	}
	return d.content(name, doc, body, end, false)
}

// content returns a document as it is, or its data without hidden values. literal
// is set for an input, whose data are in the test: a file has the format of the
// listener.
func (d *draft) content(name string, doc *document.Document, body []byte, end string, literal bool) *yaml.Node {
	v := document.Decode(d.redacted(doc).Value())
	if end == ".json" {
		return d.json(name, d.hide.json(v), literal)
	}
	if _, isText := v.(string); !isText && doc.Data() != "" {
		shown := d.hide.json(v)
		switch changed := string(shown) != string(document.AppendJSON(nil, doc.Value())); {
		case changed && literal:
			return node(document.Parse(string(shown)))
		case changed:
			return d.json(name, shown, false)
		}
	}
	return d.fixture(name+end, []byte(d.hide.content(string(body))))
}

// json returns a JSON text: in the test if it is small and means the same in YAML,
// otherwise in a file. literal is set if it may look like an expression.
func (d *draft) json(name string, text []byte, literal bool) *yaml.Node {
	v := document.Parse(string(text))
	if len(text) <= maxInline && fits(v, literal) {
		return node(v)
	}
	return d.fixture(name+".json", text)
}

// fits reports whether a value can be written into a test.
func fits(v any, literal bool) bool {
	o, isObject := document.Decode(v).(*document.Object)
	if isObject && o.Len() == 1 && o.Keys()[0] == "file" {
		return false // it names a file
	}
	return fitsInside(v, literal)
}

func fitsInside(v any, literal bool) bool {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		for i := range v.Len() {
			if _, e := v.At(i); !fitsInside(e, literal) {
				return false
			}
		}
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !fitsInside(e, literal) })
	case string:
		return literal || !strings.Contains(v, "${")
	case document.Number:
		return simpleNumber.MatchString(string(v))
	}
	return true
}

// fixture adds a file, and returns its reference.
func (d *draft) fixture(name string, content []byte) *yaml.Node {
	name = d.fixtures() + "/" + notInName.ReplaceAllString(name, "-")
	if strings.HasSuffix(name, ".json") {
		content = indented(content)
	}
	d.files = append(d.files, processes.File{Name: path.Join(d.folder, name), Content: content})
	return short(pair("file", scalar(name)))
}
