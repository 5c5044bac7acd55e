package imap

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // the charsets of messages
	"github.com/emersion/go-message/mail"

	"valence/internal/blob"
	"valence/internal/document"
)

// Bounds of a message besides its size.
const (
	maxDepth = 20    // of parts within parts
	maxParts = 1_000 // of a message
)

// letter is a message as a document.
type letter struct {
	header      mail.Header
	text, html  []string
	attachments []any
	parts       int
	inMemory    int64 // bytes of parts
}

// parse reads a message. Large attachments are stored if ctx has a scope. Its error
// is that of the message, of content, or a *fault.Failure of the store.
func parse(ctx context.Context, content io.Reader) (*letter, error) {
	e, err := message.Read(content)
	if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return nil, fmt.Errorf("the message cannot be read: %w", err)
	}
	l := &letter{header: mail.Header{Header: e.Header}, attachments: []any{}}
	return l, l.read(ctx, e, 1)
}

// read adds the content of an entity.
func (l *letter) read(ctx context.Context, e *message.Entity, depth int) error {
	if l.parts++; l.parts > maxParts || depth > maxDepth {
		return fmt.Errorf("the message has more than %d parts, or parts within parts deeper than %d", maxParts, maxDepth)
	}
	parts := e.MultipartReader()
	if parts == nil {
		return l.leaf(ctx, e)
	}
	for {
		p, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err):
			return fmt.Errorf("a part of the message cannot be read: %w", err)
		}
		if err := l.read(ctx, p, depth+1); err != nil {
			return err
		}
	}
}

// leaf adds the content of a part that has no parts.
func (l *letter) leaf(ctx context.Context, e *message.Entity) error {
	media, params, err := e.Header.ContentType()
	if err != nil {
		media = "application/octet-stream"
	}
	header := mail.AttachmentHeader{Header: e.Header}
	name, err := header.Filename()
	if err != nil {
		name = params["name"]
	}
	disposition, _, _ := e.Header.ContentDisposition() // none if it is invalid
	isFile := media != "text/plain" && media != "text/html" || disposition == "attachment" || name != ""
	content, stored, err := l.content(ctx, e, isFile)
	if err != nil {
		return fmt.Errorf("a part of the message cannot be read: %w", err)
	}
	switch {
	case stored != nil:
		file := stored.Reference(baseName(name), media)
		file.Set("filename", baseName(name)) // also if it is empty
		l.attachments = append(l.attachments, file)
	case isFile || !utf8.Valid(content):
		l.attachments = append(l.attachments, attachment(baseName(name), media, content))
	case media == "text/html":
		l.html = append(l.html, lines(content))
	default:
		l.text = append(l.text, lines(content))
	}
	return nil
}

// content returns the content of a part. That of a large file is stored.
func (l *letter) content(ctx context.Context, e *message.Entity, isFile bool) (b []byte, stored *blob.Content, err error) {
	left := int64(math.MaxInt64 - 1)
	if blob.Open(ctx) { // the message may be larger than the memory
		left = blob.MaxInline - l.inMemory
	}
	if isFile {
		c, err := blob.Read(ctx, e.Body, math.MaxInt64-1)
		if err != nil || c.Name != "" {
			return nil, c, err
		}
		b = c.Bytes
	} else if b, err = io.ReadAll(io.LimitReader(e.Body, left+1)); err != nil {
		return nil, nil, err
	}
	if l.inMemory += int64(len(b)); int64(len(b)) > left {
		return nil, nil, fmt.Errorf("its text and small attachments have more than %d bytes", blob.MaxInline)
	}
	return b, nil, nil
}

// attachment returns a file as listeners describe uploaded ones.
func attachment(name, media string, content []byte) *document.Object {
	o := &document.Object{}
	o.Set("filename", name)
	o.Set("type", media)
	if utf8.Valid(content) {
		o.Set("raw", string(content))
		return o
	}
	o.Set("raw", base64.StdEncoding.EncodeToString(content))
	o.Set("encoding", "base64")
	return o
}

// baseName returns the name of a file without folders and control characters,
// which a hostile sender may have put into it.
func baseName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	if name == "." || name == ".." {
		return ""
	}
	return name
}

// lines returns text with its line breaks as \n.
func lines(text []byte) string { return strings.ReplaceAll(string(text), "\r\n", "\n") }

// document returns the message as a document. received is when the server got
// it, for a message without a valid date.
func (l *letter) document(received time.Time) *document.Document {
	o := &document.Object{}
	from := l.addresses("From")
	o.Set("from", first(from))
	o.Set("to", texts(l.addresses("To")))
	o.Set("cc", texts(l.addresses("Cc")))
	o.Set("reply_to", texts(l.addresses("Reply-To")))
	o.Set("subject", l.subject())
	date, err := l.header.Date()
	if err != nil || date.IsZero() {
		date = received
	}
	o.Set("date", date.UTC().Format(time.RFC3339))
	id, err := l.header.MessageID()
	if err != nil {
		id = ""
	}
	o.Set("message_id", id)
	o.Set("text", strings.Join(l.text, "\n"))
	o.Set("html", strings.Join(l.html, "\n"))
	o.Set("attachments", l.attachments)
	return document.FromValue(o)
}

func (l *letter) subject() string {
	s, err := l.header.Subject()
	if err != nil {
		s = l.header.Get("Subject")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// addresses returns the addresses in a header, without names. A header that is
// not valid is returned as it is.
func (l *letter) addresses(key string) []string {
	list, err := l.header.AddressList(key)
	if err != nil {
		return []string{strings.ToValidUTF8(l.header.Get(key), "\uFFFD")}
	}
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = strings.ToValidUTF8(a.Address, "\uFFFD")
	}
	return out
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// summary returns the description of a message in a list.
func summary(m *imapclient.FetchMessageBuffer) *document.Object {
	o := &document.Object{}
	o.Set("uid", number(int64(m.UID)))
	e := m.Envelope
	if e == nil {
		e = &imap.Envelope{}
	}
	o.Set("from", first(envelopeAddresses(e.From)))
	o.Set("to", texts(envelopeAddresses(e.To)))
	o.Set("subject", strings.ToValidUTF8(e.Subject, "\uFFFD"))
	date := e.Date
	if date.IsZero() {
		date = m.InternalDate
	}
	o.Set("date", date.UTC().Format(time.RFC3339))
	o.Set("size", number(m.RFC822Size))
	o.Set("seen", hasFlag(m.Flags, imap.FlagSeen))
	o.Set("message_id", e.MessageID)
	return o
}

func envelopeAddresses(list []imap.Address) []string {
	var out []string
	for i := range list {
		if a := list[i].Addr(); a != "" {
			out = append(out, strings.ToValidUTF8(a, "\uFFFD"))
		}
	}
	return out
}
