#!/bin/sh
# Asks about a picture: IMAGETRUST_TOKEN=... sh ask.sh photo.jpg
curl --silent --show-error --fail-with-body \
  --header "Authorization: Bearer $IMAGETRUST_TOKEN" \
  --header "Content-Type: application/octet-stream" \
  --header "ImageTrust-Detail: verdicts" \
  --data-binary "@$1" "${IMAGETRUST_ADDRESS:-http://127.0.0.1:8080}/predictions/explanation"
