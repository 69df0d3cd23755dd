# The AWS CLI: sts, s3, sagemaker, sagemaker-runtime, logs. Usage: sh awscli_calls.sh ARCHIVE
set -eu
say() { printf '%s\n' "$*"; }
is() { test "$1" = "$2" || { say "expected '$2', not '$1'" >&2; exit 1; }; }

is "$(aws sts get-caller-identity --query Account --output text)" 123456789012
role=arn:aws:iam::123456789012:role/any
is "$(aws sts assume-role --role-arn $role --role-session-name shell --query 'Credentials.SecretAccessKey != `null`')" true

aws s3 mb s3://cli-models
aws s3 cp "$1" s3://cli-models/one/model.tar.gz
aws s3 ls s3://cli-models/one/ | grep -q model.tar.gz

image=683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1
aws sagemaker create-model --model-name cli --execution-role-arn $role \
  --primary-container "Image=$image,ModelDataUrl=s3://cli-models/one/model.tar.gz" --tags Key=team,Value=a > arn
aws sagemaker list-tags --resource-arn "$(aws sagemaker describe-model --model-name cli --query ModelArn --output text)" \
  --query 'Tags[0].Value' --output text | grep -qx a
for name in cli-1 cli-2; do
  aws sagemaker create-endpoint-config --endpoint-config-name $name \
    --production-variants VariantName=AllTraffic,ModelName=cli,InitialInstanceCount=1,InstanceType=ml.t3.medium > arn
done
aws sagemaker create-endpoint --endpoint-name cli --endpoint-config-name cli-1 > arn
aws sagemaker wait endpoint-in-service --endpoint-name cli
is "$(aws sagemaker describe-endpoint --endpoint-name cli --query EndpointStatus --output text)" InService

aws sagemaker-runtime invoke-endpoint --endpoint-name cli --content-type text/csv --body 0.5,-1.25,3,0.125 first
grep -Eq '^-?[0-9]+\.[0-9]+' first
printf 0.5,-1.25,3,0.125 > row.csv
aws sagemaker-runtime invoke-endpoint --endpoint-name cli --content-type text/csv --body fileb://row.csv second
cmp first second

aws sagemaker update-endpoint --endpoint-name cli --endpoint-config-name cli-2 > arn
aws sagemaker wait endpoint-in-service --endpoint-name cli
is "$(aws sagemaker describe-endpoint --endpoint-name cli --query EndpointConfigName --output text)" cli-2

group=/aws/sagemaker/Endpoints/cli
is "$(aws logs describe-log-groups --log-group-name-prefix $group --query 'logGroups[0].logGroupName' --output text)" $group
stream=$(aws logs describe-log-streams --log-group-name $group --query 'logStreams[0].logStreamName' --output text)
aws logs get-log-events --log-group-name $group --log-stream-name "$stream" --start-from-head \
  --query 'length(events)' --output text | grep -qv '^0$'
aws logs filter-log-events --log-group-name $group --query 'length(events)' --output text | grep -qv '^0$'

aws sagemaker delete-endpoint --endpoint-name cli
aws sagemaker wait endpoint-deleted --endpoint-name cli
aws sagemaker delete-endpoint-config --endpoint-config-name cli-1
aws sagemaker delete-endpoint-config --endpoint-config-name cli-2
aws sagemaker delete-model --model-name cli
aws sagemaker describe-endpoint --endpoint-name cli 2> error && exit 1
grep -q 'An error occurred (ValidationException) when calling the DescribeEndpoint operation: Could not find endpoint' error
aws s3 rm s3://cli-models --recursive
aws s3 rb s3://cli-models
say done
