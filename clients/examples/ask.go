// Asks about a picture: IMAGETRUST_TOKEN=... go run ask.go photo.jpg
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// ask returns the HTTP status and the answer, which is JSON. Options are those of docs/api.md.
func ask(address, endpoint string, picture []byte, token string, options map[string]string) (int, []byte, error) {
	request, err := http.NewRequest("POST", address+"/predictions/"+endpoint, bytes.NewReader(picture))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/octet-stream")
	for name, value := range options {
		request.Header.Set("ImageTrust-"+name, value)
	}
	client := http.Client{Timeout: time.Minute}
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, body, err
}

func main() {
	address := os.Getenv("IMAGETRUST_ADDRESS")
	if address == "" {
		address = "http://127.0.0.1:8080"
	}
	picture, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	options := map[string]string{"detail": "verdicts"}
	status, answer, err := ask(address, "explanation", picture, os.Getenv("IMAGETRUST_TOKEN"), options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Println(string(answer))
	if status != 200 {
		os.Exit(1)
	}
}
