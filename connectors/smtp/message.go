package smtp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"regexp"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// send is the `with:` of the operation send.
type send struct {
	From, Subject, Text, HTML string
	To, Cc, Bcc, ReplyTo      []string
	Headers                   []spec.KV
	Attachments               []attachment
}

type attachment struct {
	Filename, Type, Encoding string
	Size                     int
	Raw                      any
}

var attachmentFields = []spec.Field{
	spec.String("filename", func(a *attachment) *string { return &a.Filename }, "Name of the file, without a folder.").Eg("invoice.pdf").Required(),
	spec.String("type", func(a *attachment) *string { return &a.Type }, "Media type. The default follows from `raw`: that of the file, otherwise `application/octet-stream`.").Eg("application/pdf"),
	spec.Any("raw", func(a *attachment) *any { return &a.Raw }, "Content: a string, or a file such as `raw` of a binary document. The content of a stored file is streamed.").Eg("${raw}").Required(),
	spec.Enum("encoding", func(a *attachment) *string { return &a.Encoding }, "`base64` if the string in `raw` is Base64. Stored files have another one.", "base64", blob.EncodingBinary, blob.EncodingText),
	spec.Int("size", func(a *attachment) *int { return &a.Size }, "Size of the content, as stored files have it. Content of another size fails with `bad_call`.").Min(0),
}

var sendFields = []spec.Field{
	spec.String("from", func(s *send) *string { return &s.From }, "Sender, such as `Shop <shop@example.com>`.").Eg("Shop <shop@example.com>").Required(),
	spec.Strings("to", func(s *send) *[]string { return &s.To }, "Recipients. Each string is an address or several with commas between them.").Eg("anna@example.com"),
	spec.Strings("cc", func(s *send) *[]string { return &s.Cc }, "Recipients of a copy."),
	spec.Strings("bcc", func(s *send) *[]string { return &s.Bcc }, "Recipients of a copy that no other recipient sees."),
	spec.Strings("reply_to", func(s *send) *[]string { return &s.ReplyTo }, "Addresses for replies. Replies go to `from` by default."),
	spec.String("subject", func(s *send) *string { return &s.Subject }, "Subject."),
	spec.String("text", func(s *send) *string { return &s.Text }, "The message as plain text."),
	spec.String("html", func(s *send) *string { return &s.HTML }, "The message as HTML. With `text` readers choose one of them. Values in it are not escaped."),
	spec.StringMap("headers", func(s *send) *[]spec.KV { return &s.Headers }, "More headers, such as `In-Reply-To`. Headers that other settings determine are not allowed."),
	spec.Objects("attachments", func(s *send) *[]attachment { return &s.Attachments }, "Files.", attachmentFields...),
}

// determined are the headers that other settings determine.
var determined = map[string]string{
	"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to", "subject": "subject", "sender": "from", "return-path": "from",
	"message-id": "", "date": "", "mime-version": "", "content-type": "", "content-transfer-encoding": "", "content-disposition": "",
}

// headerName is a name of RFC 5322, 2.2.
var headerName = regexp.MustCompile(`^[!-9;-~]+$`)

// headerProblem returns why a header cannot be sent, or "".
func headerProblem(h spec.KV) string {
	if !headerName.MatchString(h.Name) {
		return "`" + spec.Clip(h.Name) + "` is not the name of a header"
	}
	if setting, known := determined[strings.ToLower(h.Name)]; known {
		if setting == "" {
			return "the connector sets `" + h.Name + "` itself"
		}
		return "use `" + setting + ":` instead of the header `" + h.Name + "`"
	}
	if strings.ContainsFunc(h.Value, unicode.IsControl) {
		return "the value of `" + h.Name + "` contains a line break or another control character"
	}
	return ""
}

// checkSend returns the problems that no single field can find. Values may
// still be expressions.
func checkSend(v any) []string {
	w := v.(*send)
	var wrong []string
	list := func(key string, texts ...string) {
		for _, text := range texts {
			if spec.Literal(text) {
				if _, err := mail.ParseAddressList(text); err != nil {
					wrong = append(wrong, key+": "+addressProblem(text))
				}
			}
		}
	}
	list("from", w.From)
	list("to", w.To...)
	list("cc", w.Cc...)
	list("bcc", w.Bcc...)
	list("reply_to", w.ReplyTo...)
	for _, h := range w.Headers {
		if spec.Literal(h.Value) {
			if why := headerProblem(h); why != "" {
				wrong = append(wrong, "headers: "+why)
			}
		}
	}
	return wrong
}

func addressProblem(text string) string {
	return "`" + spec.Clip(text) + "` is not an address such as `anna@example.com` or `Anna <anna@example.com>`"
}

// letter is a message. Its large attachments are not in it, but written in the
// place of a line each.
type letter struct {
	*gomail.Msg
	files map[string]*blob.File // by line
}

// compose returns the message of a call.
func compose(ctx context.Context, w *send, call *connectors.Call) (*letter, error) {
	m := &letter{Msg: gomail.NewMsg(gomail.WithNoDefaultUserAgent()), files: map[string]*blob.File{}}
	from, err := mail.ParseAddress(w.From)
	if err != nil {
		return nil, badCall("from: %s", addressProblem(w.From))
	}
	m.FromMailAddress(from)
	if err := address(m.Msg, w); err != nil {
		return nil, err
	}
	if strings.ContainsFunc(w.Subject, unicode.IsControl) {
		return nil, badCall("subject: it contains a line break or another control character")
	}
	m.Subject(w.Subject)
	m.SetDate()
	m.SetMessageIDWithValue(messageID(call.IdempotencyKey, from.Address))
	for _, h := range w.Headers {
		if why := headerProblem(h); why != "" {
			return nil, badCall("headers: %s", why)
		}
		m.SetGenHeader(gomail.Header(h.Name), h.Value)
	}
	m.SetBodyString(gomail.TypeTextPlain, w.Text)
	if w.HTML != "" {
		if w.Text == "" {
			m.SetBodyString(gomail.TypeTextHTML, w.HTML)
		} else {
			m.AddAlternativeString(gomail.TypeTextHTML, w.HTML)
		}
	}
	for i := range w.Attachments {
		err := w.Attachments[i].attach(ctx, m)
		var known *fault.Failure
		if errors.As(err, &known) {
			return nil, known
		}
		if err != nil {
			return nil, badCall("attachments: %s: %v", spec.Clip(w.Attachments[i].Filename), err)
		}
	}
	return m, nil
}

// address sets the recipients, of which there must be one.
func address(m *gomail.Msg, w *send) error {
	n := 0
	for _, x := range []struct {
		key   string
		texts []string
		set   func(...*mail.Address)
	}{{"to", w.To, m.ToMailAddress}, {"cc", w.Cc, m.CcMailAddress}, {"bcc", w.Bcc, m.BccMailAddress}, {"reply_to", w.ReplyTo, m.ReplyToMailAddress}} {
		var all []*mail.Address
		for _, text := range x.texts {
			list, err := mail.ParseAddressList(text)
			if err != nil {
				return badCall("%s: %s", x.key, addressProblem(text))
			}
			all = append(all, list...)
		}
		if len(all) > 0 {
			x.set(all...)
		}
		if x.key != "reply_to" {
			n += len(all)
		}
	}
	if n == 0 {
		return badCall("the message has no recipient; set to, cc or bcc")
	}
	return nil
}

// messageID returns the Message-ID of a call: the same for all its attempts.
func messageID(key, from string) string {
	sum := sha256.Sum256([]byte(key))
	_, domain, _ := strings.Cut(from, "@")
	return hex.EncodeToString(sum[:16]) + "@" + domain
}

func (a *attachment) attach(ctx context.Context, m *letter) error {
	file, err := a.file(ctx)
	if err != nil {
		return err
	}
	if a.Filename == "" {
		return fmt.Errorf("the name is empty")
	}
	mediaType := file.MediaType
	if a.Type != "" {
		mediaType = a.Type
	}
	media, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return fmt.Errorf("`%s` is not a media type", spec.Clip(mediaType))
	}
	content, err := m.content(file)
	if err != nil {
		return err
	}
	if a.Size > 0 && int64(a.Size) != file.Size {
		return fmt.Errorf("the content has %d bytes, not the %d of size", file.Size, a.Size)
	}
	return m.AttachReader(a.Filename, bytes.NewReader(content), gomail.WithFileContentType(gomail.ContentType(media)))
}

// content returns the content of a file, or for a stored one the content whose
// only line in the message stands for it.
func (m *letter) content(file *blob.File) ([]byte, error) {
	if !file.Stored() {
		return file.Bytes(file.Size)
	}
	if err := file.Stat(); err != nil {
		return nil, err
	}
	place := make([]byte, lineBytes)
	_, _ = rand.Read(place) // it never fails
	m.files[base64.StdEncoding.EncodeToString(place)] = file
	return place, nil
}

// file returns the content of an attachment.
func (a *attachment) file(ctx context.Context) (*blob.File, error) {
	raw := document.Decode(a.Raw)
	if text, isText := raw.(string); isText {
		o := &document.Object{}
		o.Set("filename", a.Filename)
		o.Set("raw", text)
		if a.Encoding != "" {
			o.Set("encoding", a.Encoding)
		}
		raw = o
	}
	file, isFile, err := blob.Of(ctx, raw)
	if err == nil && !isFile {
		err = fmt.Errorf("raw must be a string or a file, not %s", document.TypeName(raw))
	}
	return file, err
}
