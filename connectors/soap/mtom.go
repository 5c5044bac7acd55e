package soap

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"

	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/spec"
)

// maxParts is the maximum number of parts of a response with attachments.
const maxParts = 1000

// xopInclude is the element that stands for an attachment (W3C XOP).
var xopInclude = xml.Name{Space: "http://www.w3.org/2004/08/xop/include", Local: "Include"}

// attachments are the parts of a multipart response besides the envelope, by
// their Content-ID.
type attachments map[string][]byte

// unpack returns the envelope of a response and its attachments. reserved is the
// memory that they have reserved beyond that of the response.
func unpack(memory *budget.Share, contentType string, answer []byte) (envelope []byte, files attachments, reserved int, err error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/related" {
		return answer, nil, 0, nil
	}
	reserved = len(answer)
	if err := memory.Reserve(reserved); err != nil {
		return nil, nil, 0, err
	}
	start := contentID(params["start"])
	files = attachments{}
	r := multipart.NewReader(bytes.NewReader(answer), params["boundary"])
	for n := 0; ; n++ {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, reserved, fmt.Errorf("the response is not valid multipart/related: %w", err)
		}
		if n == maxParts {
			return nil, nil, reserved, fmt.Errorf("the response has more than %d parts", maxParts)
		}
		var in io.Reader = p
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			in = base64.NewDecoder(base64.StdEncoding, p)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return nil, nil, reserved, fmt.Errorf("part %d of the response cannot be read: %w", n+1, err)
		}
		id := contentID(p.Header.Get("Content-Id"))
		if envelope == nil && (start == "" || id == start) {
			envelope = content
			continue
		}
		files[id] = content
	}
	if envelope == nil {
		return nil, nil, reserved, errors.New("the response has no part with the envelope")
	}
	return envelope, files, reserved, nil
}

func contentID(text string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "<"), ">")
}

// include replaces the references to attachments below an element by their
// Base64 text. Each attachment can be referred to once.
func (a attachments) include(e *convert.Element) error {
	if a == nil {
		return nil
	}
	if len(e.Children) == 1 && e.Children[0].Name == xopInclude {
		href := e.Children[0].Attr("href")
		id, err := url.PathUnescape(strings.TrimPrefix(href, "cid:"))
		content, ok := a[id]
		if err != nil || !ok {
			return fmt.Errorf("<%s> refers to the attachment `%s`, which the response does not have, or which another element refers to", e.Name.Local, spec.Clip(href))
		}
		delete(a, id)
		e.Text, e.Children = base64.StdEncoding.EncodeToString(content), nil
		return nil
	}
	for _, c := range e.Children {
		if err := a.include(c); err != nil {
			return err
		}
	}
	return nil
}
